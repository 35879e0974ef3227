"""Processes: from a sweep file to packs, from packs to rows, from rows to frontiers.

Knows Ray Tune (`run.py`) and MLflow (`tracking.py`), each in one file. `plan`, `cost`, `pareto`, `schema` and
`frontier` are pure. Imports `trainer`, is imported by nobody; dashboards meet it only in the files of the run folder.
"""
