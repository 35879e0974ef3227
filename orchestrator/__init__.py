"""Processes: from a sweep file to packs, from packs to rows, from rows to frontiers.

Knows Ray Tune (`run.py`) and MLflow (`tracking.py`), each in one file. `plan`, `cost`, `pareto`, `schema` and
`frontier` are pure. Imports `trainer`, is imported by nobody; dashboards meet it only in the files of the run folder.

`load` is for notebooks. Nothing heavy is imported with this package.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dashboards.notebook import Run


def load(run: str | Path, *, runs: str | Path = "runs") -> "Run":
    """A run's tables, trials and pictures: by its folder, its id, or its sweep's name, of which the newest is taken."""
    from dashboards.notebook import load as load_run

    return load_run(run, runs=runs)
