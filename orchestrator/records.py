"""The values that live in a run folder, one class per file or line. No paths here: `run_folder.py` has those.

Each says its schema version where it is a file of its own. A new field with a default keeps the version; a field
removed, renamed or of another meaning raises it.
"""

import math
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, BeforeValidator, Field, JsonValue, NonNegativeInt, model_validator

from trainer.config import TrialConfig
from trainer.values import Frozen

TRIAL_ID = r"^[0-9a-f]{16}$"
"""What `TrialConfig.trial_id` gives."""
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$"
"""Sweeps and packs: no slash and no leading dot, so such a name never leaves its folder."""

TrialId = Annotated[str, Field(pattern=TRIAL_ID)]
PackId = Annotated[str, Field(pattern=NAME)]
SweepId = Annotated[str, Field(pattern=NAME)]


def _finite_or_none(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_finite_or_none)]
"""A measured number. NaN and infinities are None, in the file null."""


class RowStatus(StrEnum):
    """How a trial ended. Only grows."""

    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


class PackState(StrEnum):
    """Where a pack stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


class SweepState(StrEnum):
    """Where a sweep stands. `complete`: every trial has a row, failed ones included."""

    RUNNING = "running"
    COMPLETE = "complete"
    STOPPED = "stopped"


class Facts(Frozen):
    """What the trial's data and model turned out to be; not in its config."""

    d_model: int
    d_sae: int
    n_train_tokens: int
    """Tokens trained on: whole steps only."""
    n_eval_tokens: int
    """Tokens of the held-out rows that the metrics are over."""
    data_hash: str
    eval_hash: str
    """Hash of the held-out rows."""
    model_hash: str
    """Hash of the frozen model's weights."""


class Versions(Frozen):
    """What the trial ran on."""

    code: str
    """Version of this package."""
    git_commit: str | None = None
    python: str
    torch: str
    device: str
    """Such as `cpu` or `NVIDIA H100 80GB HBM3`."""


class Row(Frozen):
    """`results/<trial_id>.json`: how one trial ended. Everything that a frontier shows comes from here."""

    schema_version: Literal[1] = 1
    trial_id: TrialId
    run_name: str
    """For people; unique in its sweep."""
    pack_id: PackId
    status: RowStatus
    error: str | None = None
    """Why it failed or stopped."""
    config: TrialConfig
    """As trained. `trial_id` was its hash then; a later version with more fields may hash it differently."""
    facts: Facts | None = None
    """None only where a trial failed before it had them."""
    metrics: dict[str, Number | list[Number]] = Field(default={})
    """Final metrics by column."""
    cost: dict[str, Number] = Field(default={})
    """Seconds, bytes and tokens per second by column."""
    versions: Versions
    started_at: AwareDatetime
    finished_at: AwareDatetime

    @model_validator(mode="after")
    def _done_has_facts(self) -> "Row":
        if self.status is RowStatus.DONE and self.facts is None:
            raise ValueError("a done row needs facts")
        return self


class PackStatus(Frozen):
    """`packs/<pack_id>/status.json`, written by the pack's worker."""

    schema_version: Literal[1] = 1
    pack_id: PackId
    state: PackState
    trial_ids: list[TrialId]
    step: NonNegativeInt = 0
    n_steps: NonNegativeInt = 0
    tokens_per_s: Number = None
    """Tokens of the stream, not times the SAEs."""
    pid: int | None = None
    host: str | None = None
    latest: dict[TrialId, dict[str, Number]] = Field(default={})
    """Newest metrics of each trial."""
    error: str | None = None
    updated_at: AwareDatetime


class SweepStatus(Frozen):
    """`status.json`, written by the driver."""

    schema_version: Literal[1] = 1
    sweep_id: SweepId
    state: SweepState
    n_trials: NonNegativeInt
    n_done: NonNegativeInt = 0
    n_failed: NonNegativeInt = 0
    n_stopped: NonNegativeInt = 0
    n_running: NonNegativeInt = 0
    packs: dict[PackId, PackState] = Field(default={})
    pid: int | None = None
    host: str | None = None
    started_at: AwareDatetime
    updated_at: AwareDatetime

    @property
    def n_waiting(self) -> int:
        """Trials that neither ran nor run."""
        return self.n_trials - self.n_done - self.n_failed - self.n_stopped - self.n_running


class Event(Frozen):
    """A line of `events.jsonl`: something that a person may want to know happened."""

    time: AwareDatetime
    level: Literal["info", "warning", "error"] = "info"
    event: str
    """What kind, such as `pack_started`."""
    message: str
    pack_id: PackId | None = None
    trial_id: TrialId | None = None
    fields: dict[str, JsonValue] = Field(default={})


class CurvePoint(Frozen):
    """A line of `journal/<trial_id>.jsonl`: a trial's metrics at one step."""

    step: NonNegativeInt
    tokens: NonNegativeInt
    time_ms: NonNegativeInt
    """Unix time in milliseconds, recorded once: a copy sent again to MLflow is then the same point."""
    metrics: dict[str, Number]


class SavedPlan(Frozen):
    """`plan.json`: the trials in full, and which pack trains which."""

    schema_version: Literal[1] = 1
    sweep_id: SweepId
    trials: dict[TrialId, TrialConfig]
    run_names: dict[TrialId, str]
    packs: dict[PackId, list[TrialId]]

    @model_validator(mode="after")
    def _fits_together(self) -> "SavedPlan":
        for trial_id, config in self.trials.items():
            if config.trial_id != trial_id:
                raise ValueError(f"trial {trial_id} has a config whose trial_id is {config.trial_id}")
        if self.run_names.keys() != self.trials.keys():
            raise ValueError("each trial has to have a name")
        packed = sorted(trial_id for trial_ids in self.packs.values() for trial_id in trial_ids)
        if packed != sorted(self.trials):
            raise ValueError("each trial has to be in exactly one pack")
        return self

    def trials_of(self, pack_id: str) -> tuple[TrialConfig, ...]:
        """The configs of one pack, in order."""
        return tuple(self.trials[trial_id] for trial_id in self.packs[pack_id])


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
