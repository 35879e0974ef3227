"""Compares every point that MLflow has of a sweep with the run folder. Slow: one call per curve and run."""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.folder.clock import in_ms
from orchestrator.folder.run_folder import RunFolder
from orchestrator.tracking.copier import Copier
from orchestrator.tracking.points import Point, final_points
from orchestrator.tracking.store import answers_explained
from orchestrator.tracking.tail import JournalTail
from orchestrator.tracking.trial_copy import TrialCopy
from trainer.errors import BadInput

if TYPE_CHECKING:
    from mlflow import MlflowClient

Key = tuple[str, int, int, float | None]
"""Curve, step, time and value, which is None for NaN: what no two points have in common."""


class Audit(NamedTuple):
    """What was found, and is put right by the next pass of the copier."""

    n_points: int
    """That the run folder has."""
    n_missing: int
    removed: Sequence[str]
    """Runs with points that the run folder has not: a point cannot be taken out, so they went to MLflow's trash."""
    left: Sequence[str]
    """The same while the sweep runs: they stay until it has ended."""


def audit(copier: Copier, folder: RunFolder, *, uri: str, live: bool, progress: Callable[[str], None]) -> Audit:
    """Raises EnvironmentProblem. Curves that the sweep has no name for are somebody's own, and left alone."""
    trials = list(copier.trials.values())
    n_points = n_missing = 0
    removed, left = list[str](), list[str]()
    with answers_explained(uri), ThreadPoolExecutor(8) as pool:
        names = {name for trial in trials for name, *_ in _wanted(folder, trial)}
        try:
            found = pool.map(partial(_histories, copier.client, names), [trial.run_id for trial in trials])
            for n, (trial, there) in enumerate(zip(trials, found, strict=True), start=1):
                progress(f"comparing: {n} of {len(trials)} runs")
                wanted = set(_wanted(folder, trial))  # read after MLflow's: it may be growing
                n_points += len(wanted)
                n_missing += len(wanted - there)
                if there - wanted and live:
                    left.append(trial.about.run_name)
                elif there - wanted:
                    copier.client.delete_run(trial.run_id)
                    removed.append(trial.about.run_name)
                elif wanted - there:
                    trial.start_over()
        finally:
            pool.shutdown(cancel_futures=True)
        copier.forget_lost_files()
    if removed:
        copier.reopen()
    return Audit(n_points, n_missing, removed, left)


def _wanted(folder: RunFolder, trial: TrialCopy) -> Iterator[Key]:
    """The points of the trial's journal and row."""
    path = folder.journal(trial.about.trial_id)
    size = path.stat().st_size if path.exists() else 0
    for batch in JournalTail(path).batches(size):
        yield from map(_key, batch.points)
    with suppress(BadInput):  # the copier says so
        row = folder.row(trial.about.trial_id)
        if row is None:
            return
        yield from map(_key, final_points(in_ms(row.finished_at), row.metrics))


def _histories(client: "MlflowClient", names: set[str], run_id: str) -> set[Key]:
    there = names & client.get_run(run_id).data.metrics.keys()
    return {
        _key(Point(metric.key, metric.value, metric.step, metric.timestamp))
        for name in sorted(there)
        for metric in client.get_metric_history(run_id, name)
    }


def _key(point: Point) -> Key:
    return point.key, point.step, point.time_ms, None if math.isnan(point.value) else float(point.value)
