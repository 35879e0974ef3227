"""Which trials to run next, given those that ended: pure planners, asked between rounds of packs.

A planner is a function of what was tried, so it needs no state of its own: after a crash it says the same again. None
knows files, Ray or MLflow; `orchestrator/running/rounds.py` runs what they propose. `tried.py` has the values, then
comes one file per planner; `planners.py` makes the one that a sweep asks for, and `searching.py` keeps it within its
budget. `journal.py` alone writes a file, for people.
"""
