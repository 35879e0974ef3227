"""What a worker is told and what it hands back: small values that travel to other processes as JSON.

Everything else a worker reads from the run folder. Nothing in a job changes the numbers of a trial.
"""

import math
from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from orchestrator.folder.records import PackId, PackState, TrialId
from trainer.values import Frozen, PositiveFinite

STOP_FILE = "stop"
"""In the run folder while a stop is asked for: workers look for it between steps."""


class PackJob(Frozen):
    """One pack to train."""

    folder: str
    """Absolute path of the run folder."""
    pack_id: PackId
    trial_ids: list[TrialId]
    """Those of its trials that have no row to keep, in the pack's order. The plan has all of them."""
    cache: str
    """Folder of the token store."""
    cpus: PositiveFinite = 1.0
    gpus: NonNegativeFloat = 0.0
    """Share of a GPU, or number of GPUs; 0 trains on the CPU."""
    micro_batch_rows: PositiveInt | None = None
    log_every_steps: PositiveInt = 20
    eval_every_tokens: PositiveInt | None = None
    n_elements: NonNegativeInt = 0
    """Dictionary elements of each SAE that are looked at in the end; 0 for none."""
    n_snippets: PositiveInt = 5
    """Passages of each of them."""
    path: Literal["auto", "dense", "sparse"] = "auto"
    """How SAEs are computed; `auto` goes by their density."""
    stop_dominated: PositiveFinite | None = None
    """Stop trials that others are better than by this share; None for never."""
    objectives: dict[str, Literal["lower", "higher"]] = Field(default={})
    """In all of these metrics, which are better lower or higher."""
    launch_id: str = ""
    """Of the launch that it is part of: of no use any more once another one has the lease. Empty: not looked at."""
    hung_after_s: PositiveFinite = 900.0
    """A worker that does nothing for this long is ended."""
    checkpoint_every_s: NonNegativeFloat | None = None
    """Seconds between checkpoints; None for what their cost suggests."""

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
    reason: Literal["memory", "disk", "died"] | None = None
    """What kind of thing that was, where something can be done: split it, wait for room, try again."""


def stop_file(folder: Path) -> Path:
    return folder / STOP_FILE
