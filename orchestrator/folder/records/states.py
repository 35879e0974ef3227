"""How a sweep and its packs stand, what happened, and who is at work on it."""

from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, Field, JsonValue, NonNegativeInt

from orchestrator.folder.records.names import Number, PackId, SweepId, TrialId
from trainer.values import Frozen


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
