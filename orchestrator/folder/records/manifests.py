"""What belongs to what: the files of a checkpoint, the runs in MLflow, the snapshots of the frontier."""

from typing import Literal

from pydantic import AwareDatetime, Field, NonNegativeInt, PositiveInt

from orchestrator.folder.records.names import PackId, TrialId
from orchestrator.folder.records.states import SweepState
from orchestrator.folder.records.trials import Dominated
from trainer.values import Frozen


class CheckpointManifest(Frozen):
    """`packs/<pack_id>/checkpoints/<step>/manifest.json`: what a checkpoint holds, and by which damage is seen."""

    schema_version: Literal[1] = 1
    pack_id: PackId
    step: NonNegativeInt
    trial_ids: list[list[TrialId]]
    """Bank by bank, in the order of their slots."""
    attempt: NonNegativeInt
    files: dict[str, str]
    """SHA-256 by name."""
    n_points: dict[TrialId, NonNegativeInt]
    """Points in each trial's journal up to this step: a journal that has fewer of them was damaged since."""
    failed: dict[TrialId, str] = Field(default={})
    """Trials that train no further, and why."""
    dominated: dict[TrialId, Dominated] = Field(default={})
    """Trials that were stopped early for it."""
    micro_batch_rows: PositiveInt | None = None
    path: Literal["auto", "dense", "sparse"] = "auto"
    """How the pack computes: it goes on as it began."""
    seconds: dict[str, float] = Field(default={})
    """Spent over all attempts, by what on, as the pack's clock has them."""
    bank_s: list[float] = Field(default=[])
    """The same by bank."""
    started_at: AwareDatetime
    """Of the first attempt."""
    saved_at: AwareDatetime


class MLflowRuns(Frozen):
    """`runs.json`: which MLflow run belongs to which trial."""

    schema_version: Literal[1] = 1
    tracking_uri: str
    experiment_id: str
    parent_run_id: str
    trials: dict[TrialId, str]
    """MLflow run id by trial."""


class Snapshot(Frozen):
    """A frontier file under an immutable name, for readers of a running sweep."""

    file: str
    """Relative to the run folder."""
    sequence: NonNegativeInt
    content_sha256: str
    n_rows: NonNegativeInt
    state: SweepState
    created_at: AwareDatetime


class Manifest(Frozen):
    """`manifest.json`: the snapshots, newest last."""

    schema_version: Literal[1] = 1
    snapshots: list[Snapshot] = Field(default=[])

    @property
    def newest(self) -> Snapshot | None:
        return self.snapshots[-1] if self.snapshots else None
