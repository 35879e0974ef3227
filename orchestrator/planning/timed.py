"""What timing processes are told and what they hand back: values that travel as JSON."""

from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveInt

from orchestrator.planning.shape import Path
from trainer.config import TrialConfig
from trainer.values import Frozen, PositiveFinite


class TimingTask(Frozen):
    """SAEs of one kind to be timed: a bank."""

    kind: str
    trials: Annotated[tuple[TrialConfig, ...], Field(strict=False)]
    micro_batch_rows: PositiveInt
    path: Path


class TimingJob(Frozen):
    """What one timing process is told."""

    tasks: Annotated[tuple[TimingTask, ...], Field(strict=False)]
    cache: str
    gpus: NonNegativeFloat
    n_threads: PositiveInt
    budget_s: NonNegativeFloat


class Timed(Frozen):
    """What it found about one kind. Seconds of a step are those of the bank alone, without the clean run."""

    kind: str
    n_saes: PositiveInt
    micro_batch_rows: PositiveInt
    clean_s: NonNegativeFloat
    dense_s: PositiveFinite
    sparse_s: PositiveFinite | None
    """None where it never computes sparsely."""
    evaluation_s: PositiveFinite
    """Of measuring it over so many held-out tokens, and counting what fires over as many training tokens."""
    evaluation_tokens: PositiveInt
    start_s: NonNegativeFloat
    """Until the process had a model, and what its first steps took longer than later ones."""
    peak_bytes: NonNegativeFloat
