"""What a frontier says: fronts with their certainty, matched comparisons, and what a user should be warned of.

Everything here is a pure function of the table of `orchestrator.frontier`: no files, no clock, no randomness that is
not seeded. Files are written by `orchestrator.export`. Definitions, formulas and sources are in docs/frontier.md.
"""
