"""All points of one trial, in the run folder and in MLflow, to be compared. Slow: one call per curve."""

import math
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.folder.clock import in_ms
from orchestrator.folder.run_folder import RunFolder
from orchestrator.tracking.points import Point, final_points
from orchestrator.tracking.tail import JournalTail
from trainer.errors import BadInput

if TYPE_CHECKING:
    from mlflow import MlflowClient

Key = tuple[str, int, int, float | None]
"""Curve, step, time and value, which is None for NaN: what no two points have in common."""


def of_folder(folder: RunFolder, trial_id: str) -> Iterator[Key]:
    """The points of the trial's journal and row."""
    path = folder.journal(trial_id)
    size = path.stat().st_size if path.exists() else 0
    for batch in JournalTail(path).batches(size):
        yield from map(_key, batch.points)
    with suppress(BadInput):  # the copier says so
        row = folder.row(trial_id)
        if row is None:
            return
        yield from map(_key, final_points(in_ms(row.finished_at), row.metrics))


def of_run(client: "MlflowClient", names: set[str], run_id: str) -> set[Key]:
    """The points of these curves in MLflow."""
    there = names & client.get_run(run_id).data.metrics.keys()
    return {
        _key(Point(metric.key, metric.value, metric.step, metric.timestamp))
        for name in sorted(there)
        for metric in client.get_metric_history(run_id, name)
    }


def has_others(client: "MlflowClient", folder: RunFolder, trial_id: str, run_id: str) -> bool:
    """Whether the run has points under our names that the run folder has not."""
    wanted = set(of_folder(folder, trial_id))
    return bool(of_run(client, {name for name, *_ in wanted}, run_id) - wanted)


def _key(point: Point) -> Key:
    return point.key, point.step, point.time_ms, None if math.isnan(point.value) else float(point.value)
