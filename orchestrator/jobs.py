"""What a worker is told and what it hands back: small values that travel to other processes as JSON.

Everything else a worker reads from the run folder. Nothing in a job changes the numbers of a trial.
"""

import math
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, NonNegativeFloat, PositiveInt

from orchestrator.records import PackId, PackState, TrialId
from trainer.values import Frozen, PositiveFinite

STOP_FILE = "stop"
"""In the run folder while a stop is asked for: workers look for it between steps."""


class PackJob(Frozen):
    """One pack to train."""

    folder: str
    """Absolute path of the run folder."""
    pack_id: PackId
    trial_ids: list[TrialId]
    """Those of its trials that have no row to keep, in the pack's order."""
    cache: str
    """Folder of the token store."""
    cpus: PositiveFinite = 1.0
    gpus: NonNegativeFloat = 0.0
    """Share of a GPU, or number of GPUs; 0 trains on the CPU."""
    micro_batch_rows: PositiveInt | None = None
    log_every_steps: PositiveInt = 20
    eval_every_tokens: PositiveInt | None = None
    tracking: bool = True
    """Whether to send to the MLflow runs that the run folder names."""

    @property
    def n_threads(self) -> int:
        """Threads that PyTorch may use."""
        return max(1, math.floor(self.cpus))


class PackOutcome(Frozen):
    """How the work on a pack ended. How its trials ended is in their rows."""

    pack_id: PackId
    state: PackState
    error: str | None = None
    """Why no worker could finish it."""
    unsent: dict[TrialId, str] = Field(default={})
    """By trial, why MLflow has not got all of it. Its journal and its row have."""


def stop_file(folder: Path) -> Path:
    return folder / STOP_FILE


def now() -> datetime:
    """The time in UTC, in whole milliseconds, as MLflow keeps it."""
    time = datetime.now(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def in_ms(time: datetime) -> int:
    """Unix time in milliseconds."""
    return round(time.timestamp() * 1000)
