"""The values that live in a run folder, one class per file or line. No paths here: `run_folder.py` has those.

Each says its schema version where it is a file of its own. A new field with a default keeps the version; a field
removed, renamed or of another meaning raises it.
"""

import json
import math
import zlib
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, BeforeValidator, Field, JsonValue, NonNegativeInt, PositiveInt, model_validator

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
    """Cut off; the next launch goes on with it."""
    DOMINATED = "dominated"
    """Stopped early on purpose, and for good: another trial was better in every objective (`frontier.stop_dominated`).
    It has no SAE, and is on no frontier."""


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


class Dominated(Frozen):
    """Why a trial was stopped early: what it had come to, and who was better when it had come as far."""

    step: NonNegativeInt
    tokens: NonNegativeInt
    metrics: dict[str, Number]
    """By objective, at that step; not final ones."""
    by: TrialId
    by_name: str
    by_tokens: NonNegativeInt
    """At which the other had these metrics; no more than `tokens`."""
    by_metrics: dict[str, Number]
    margin: float
    """By which share it was better in each, at least."""

    @property
    def text(self) -> str:
        """For people."""
        pairs = [
            f"{name} {_short(value)} against {_short(self.by_metrics.get(name))}"
            for name, value in self.metrics.items()
        ]
        return f"dominated by {self.by_name} after {self.tokens:,} tokens: {', '.join(pairs)}"


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


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
    """Of its pack's first attempt."""
    finished_at: AwareDatetime
    sae_sha256: str | None = None
    """Of `sae.safetensors`."""
    journal_sha256: str | None = None
    """Of the trial's journal."""
    dominated: Dominated | None = None
    """Where it was stopped for that; it then has no final metrics."""

    @model_validator(mode="after")
    def _says_what_it_has_to(self) -> "Row":
        if self.status is RowStatus.DONE and self.facts is None:
            raise ValueError("a done row needs facts")
        if (self.status is RowStatus.DOMINATED) != (self.dominated is not None):
            raise ValueError("a dominated row says by whom, and no other row does")
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
    attempt: NonNegativeInt = 0
    """How often the pack was started before, by any launch."""
    pid: int | None = None
    pid_started: int | None = None
    """When that process started, as `processes.started` tells: another one may have its number by now."""
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
    n_dominated: NonNegativeInt = 0
    """Stopped early, since others are better."""
    fraction: Number = None
    """Of all tokens that all trials together train on: how much is done."""
    eta_s: Number = None
    """Seconds from `updated_at` until it is done, at the speed of then; None where that cannot be told."""
    eta_high_s: Number = None
    """The same, where the last packs end up alone."""
    packs: dict[PackId, PackState] = Field(default={})
    pid: int | None = None
    host: str | None = None
    started_at: AwareDatetime
    updated_at: AwareDatetime

    @property
    def n_waiting(self) -> int:
        """Trials that neither ran nor run."""
        ended = self.n_done + self.n_failed + self.n_stopped + self.n_dominated
        return self.n_trials - ended - self.n_running


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


def _checksum(fields: dict[str, object]) -> str:
    return f"{zlib.crc32(json.dumps(fields, sort_keys=True).encode()):08x}"


class CurvePoint(Frozen):
    """A line of `journal/<trial_id>.jsonl`: a trial's metrics at one step."""

    step: NonNegativeInt
    tokens: NonNegativeInt
    time_ms: NonNegativeInt
    """Unix time in milliseconds, recorded once: a copy sent again to MLflow is then the same point."""
    metrics: dict[str, Number]

    @model_validator(mode="before")
    @classmethod
    def _undamaged(cls, fields: object) -> object:
        """A line has a checksum, by which a flipped bit is seen; lines of earlier versions have none."""
        if isinstance(fields, dict) and "check" in fields:
            rest = {name: value for name, value in fields.items() if name != "check"}
            if fields["check"] != _checksum(rest):
                raise ValueError("the line is not what was written")
            return rest
        return fields

    @property
    def line(self) -> str:
        """As the journal has it."""
        fields = self.model_dump(mode="json")
        return json.dumps(fields | {"check": _checksum(fields)}, separators=(",", ":"))

    @property
    def key(self) -> tuple[int, frozenset[str]]:
        """What no two points of a curve have in common."""
        return self.step, frozenset(self.metrics)


class PackEstimate(Frozen):
    """What one pack was expected to take."""

    seconds: float
    """Of training and measuring, in a process that has started."""
    memory_bytes: float
    micro_batch_rows: PositiveInt
    basis: str
    """What that rests on, such as `guessed` or `measured`."""


class Proposed(Frozen):
    """Why a trial is in a plan that is not in the grid: a search asked for it."""

    search: str
    """What was looked for, such as `match ce_loss_increase 0.1`."""
    round: PositiveInt
    why: str
    """For people."""
    chosen: list[str]
    """The fields whose values are not the grid's, such as `sparsity_coeff`."""


class SavedPlan(Frozen):
    """`plan.json`: the trials in full, and which pack trains which."""

    schema_version: Literal[1] = 1
    sweep_id: SweepId
    trials: dict[TrialId, TrialConfig]
    run_names: dict[TrialId, str]
    packs: dict[PackId, list[TrialId]]
    estimates: dict[PackId, PackEstimate] = Field(default={})
    """What packs were expected to take when they were planned."""
    removed: list[TrialId] = Field(default=[])
    """Trials that are still in a pack, and that the sweep asks for no longer."""
    proposed: dict[TrialId, Proposed] = Field(default={})
    """Trials that a search has added to those of the grid."""

    @property
    def wanted(self) -> set[str]:
        """The trials that the sweep asked for when it was last launched."""
        return set(self.trials) - set(self.removed)

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
        """The configs of one pack, in order: removed ones too, since the others' numbers depend on their company."""
        return tuple(self.trials[trial_id] for trial_id in self.packs[pack_id])


class SavedLaunch(Frozen):
    """`launch.json`: how the sweep was last launched, so that it can be gone on with by the run folder's name alone.

    What is asked is in `sweep.yaml`, overrides included; nothing here touches the numbers of a trial.
    """

    schema_version: Literal[1] = 1
    sweep_file: str
    """Absolute path of the file it was launched from; it may be gone."""
    cwd: str = ""
    """The folder it was launched in: relative paths of models and data are meant from there."""
    n_slots: PositiveInt | None = None
    local: bool = False
    tracking: bool = True
    path: Literal["auto", "dense", "sparse"] = "auto"
    share: bool = True


class Holder(Frozen):
    """`lease.json`: who runs this sweep."""

    schema_version: Literal[1] = 1
    launch_id: str
    """New at each launch: workers of an earlier one know by it that they are of no use any more."""
    host: str
    pid: int
    pid_started: int | None = None
    """As `processes.started` tells."""
    boot_id: str | None = None
    """Of the host's kernel: with another one the process is gone."""
    folder_inode: int | None = None
    """Of the run folder: with another one this is a copy of it."""
    started_at: AwareDatetime

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.started_at:%Y-%m-%d %H:%M:%S} UTC"


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
    """Points in each trial's journal when this was written: a journal that has fewer was damaged since."""
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
