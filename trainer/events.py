"""What a pack tells whoever iterates over its training. Values only."""

from dataclasses import dataclass

from torch import Tensor

from trainer.elements import Element


@dataclass(frozen=True)
class Stepping:
    """After every optimizer step: `pack.state` holds `step` whole steps. The moment to stop or to save."""

    step: int


@dataclass(frozen=True)
class Trained:
    """Curves at one step: `train/...` metrics by trial, of the trials that are still training."""

    step: int
    tokens: int
    metrics: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Evaluated:
    """Held-out metrics at one step, before the end; by trial."""

    step: int
    tokens: int
    metrics: dict[str, dict[str, float | list[float]]]


@dataclass(frozen=True)
class Diverged:
    """A trial whose loss or gradient stopped being finite: its gradient is dropped and it trains no further.

    On a CPU it comes at its step, elsewhere with the next `Trained`. A resumed pack tells it again.
    """

    step: int
    """At which it diverged."""
    trial_id: str
    reason: str


@dataclass(frozen=True)
class TrialResult:
    """A trained SAE: final metrics by column, its tensors (`w_enc`, `b_enc`, `dictionary`, `b_dec`), its cost."""

    metrics: dict[str, float | list[float]]
    sae: dict[str, Tensor]
    cost: dict[str, float]
    elements: tuple[Element, ...] = ()
    """What some of its dictionary elements are strong on; empty where that was not asked for."""


@dataclass(frozen=True)
class Finished:
    """The last event: results of every trial that did not diverge."""

    results: dict[str, TrialResult]


Event = Stepping | Trained | Evaluated | Diverged | Finished
