"""A sweep, and where in MLflow its copy is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.folder.run_folder import RunFolder
from orchestrator.tracking.trial_run import TrialRun


@dataclass(frozen=True)
class Tracked:
    """What is copied where to."""

    folder: RunFolder
    uri: str
    runs_root: Path
    """The runs folder: files of runs in a local store are there."""
    sweep_name: str
    """Name of the experiment."""
    sweep_id: str
    """Name of the sweep's own run."""
    trials: Sequence[TrialRun]
