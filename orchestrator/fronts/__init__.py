"""What a frontier says: fronts with their certainty, matched comparisons, and what a user should be warned of.

Functions of the table of `frontier.py`: no clock, no randomness that is not seeded. Files are read and written by
`export.py`, `trial_lines.py` and `external.py` alone. Definitions, formulas and sources are in docs/frontier.md.
"""
