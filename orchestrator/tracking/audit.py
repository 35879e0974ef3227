"""Compares every point that MLflow has of a sweep with the run folder. Slow: one call per curve and run."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from orchestrator.folder.run_folder import RunFolder
from orchestrator.tracking.copier import Copier
from orchestrator.tracking.histories import of_folder, of_run
from orchestrator.tracking.store import answers_explained


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
        names = {name for trial in trials for name, *_ in of_folder(folder, trial.about.trial_id)}
        try:
            found = pool.map(partial(of_run, copier.client, names), [trial.run_id for trial in trials])
            for n, (trial, there) in enumerate(zip(trials, found, strict=True), start=1):
                progress(f"comparing: {n} of {len(trials)} runs")
                wanted = set(of_folder(folder, trial.about.trial_id))  # read after MLflow's: it may be growing
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
