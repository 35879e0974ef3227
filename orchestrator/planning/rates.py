"""How fast a device works: a few rates per kind of work, guessed or measured. Pure; `calibrate.py` measures and keeps.

Seconds are a sum over kinds of work, each at its own rate. A kind of SAE that was timed on this machine has a factor
besides, by which its time differed from that sum.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field, NonNegativeFloat

from trainer.values import Frozen, PositiveFinite

Device = Literal["cpu", "gpu"]
Phase = Literal["sparse", "dense", "evaluation"]
"""Of a bank's training: steps with few positive latents, the first ones with many, and what is measured."""
Basis = Literal["guessed", "measured on other SAEs", "measured"]

FIT_STIFFNESS = 0.02
"""How much a fit holds to the rates it starts from, against one exact measurement."""
THREADS_HELP = 0.85
"""n threads do n**this times the work of one."""


@dataclass(frozen=True)
class Work:
    """Something to be done, by kind of work."""

    product_flops: float = 0.0
    """Dense products with an SAE's weights."""
    model_flops: float = 0.0
    """The frozen model, forward and back."""
    moved_bytes: float = 0.0
    """What is read and written once, with little to compute: Adam, positive latents, logits, dense latents."""
    calls: float = 0.0
    """Operations started, whatever their size."""

    def __add__(self, other: "Work") -> "Work":
        return Work(*(mine + its for mine, its in zip(self.amounts, other.amounts, strict=True)))

    def __mul__(self, times: float) -> "Work":
        return Work(*(times * amount for amount in self.amounts))

    @property
    def amounts(self) -> tuple[float, float, float, float]:
        return self.product_flops, self.model_flops, self.moved_bytes, self.calls

    @property
    def flops(self) -> float:
        return self.product_flops + self.model_flops


class Rates(Frozen):
    """Of one device as one pack uses it: each kind of `Work` per second."""

    product_flops: PositiveFinite
    model_flops: PositiveFinite
    moved_bytes: PositiveFinite
    calls: PositiveFinite
    start_s: NonNegativeFloat
    """From the start of a worker's process to a loaded model."""
    base_bytes: NonNegativeFloat
    """Memory of a worker's process before it has a model; 0 where only the device's memory counts."""
    factors: dict[str, float] = Field(default={})
    """By `factor_name`: measured seconds over those that the rates give."""
    is_measured: bool = False

    def seconds(self, work: Work) -> float:
        """How long it takes, as the rates alone tell."""
        return float(sum(amount / rate for amount, rate in zip(work.amounts, self._all, strict=True)))

    def factor(self, kind: str, phase: Phase) -> float:
        """What a kind of SAE takes beyond that; 1 where it was not timed."""
        return self.factors.get(factor_name(kind, phase), 1.0)

    def basis(self, kind: str, phase: Phase = "sparse") -> Basis:
        """What an estimate for such an SAE rests on, most of whose steps are of this phase."""
        if not self.is_measured:
            return "guessed"
        return "measured" if factor_name(kind, phase) in self.factors else "measured on other SAEs"

    @property
    def _all(self) -> tuple[float, float, float, float]:
        return self.product_flops, self.model_flops, self.moved_bytes, self.calls


def factor_name(kind: str, phase: Phase) -> str:
    """`kind` as `shape.kind_label` names it."""
    return f"{kind} {phase}"


SPREAD: Mapping[Basis, float] = {"guessed": 2.0, "measured on other SAEs": 1.35, "measured": 1.15}
"""Times and divided by: the range that is told with an estimate. A guess for a GPU may be off by twice as much."""
_ONE_THREAD = Rates(product_flops=5e10, model_flops=7e10, moved_bytes=4e10, calls=6e4, start_s=6.0, base_bytes=6.8e8)
_ONE_GPU = Rates(product_flops=1e14, model_flops=5e13, moved_bytes=1e12, calls=1e5, start_s=12.0, base_bytes=0.0)


def guessed(device: Device, *, n_threads: int = 1) -> Rates:
    """Where nothing was measured: a CPU of 2023 by the thread, a data-centre GPU."""
    if device == "gpu":
        return _ONE_GPU
    return scaled(_ONE_THREAD, n_threads**THREADS_HELP)


def scaled(rates: Rates, times: float) -> Rates:
    """All work but the starting of operations so much faster."""
    faster = {name: getattr(rates, name) * times for name in ("product_flops", "model_flops", "moved_bytes")}
    return rates.model_copy(update=faster)


def fitted(rates: Rates, timed: Sequence[tuple[Work, float]]) -> Rates:
    """Rates under which each work takes about the seconds that were measured, as near to the old ones as that allows.

    Least squares on logarithms (Gauss-Newton), so that short and long work count alike.
    """
    amounts = np.array([work.amounts for work, _ in timed], dtype=float)
    measured = np.log([seconds for _, seconds in timed])
    inverse = 1.0 / np.array([rates.product_flops, rates.model_flops, rates.moved_bytes, rates.calls])
    logs = np.zeros(4)  # of how much slower each kind of work is than assumed
    for _ in range(50):
        parts = amounts * inverse * np.exp(logs)
        totals = parts.sum(1)
        slopes = parts / totals[:, None]
        residuals = measured - np.log(totals)
        left = slopes.T @ slopes + FIT_STIFFNESS * np.eye(4)
        step = np.linalg.solve(left, slopes.T @ residuals - FIT_STIFFNESS * logs)
        logs = np.clip(logs + np.clip(step, -1.0, 1.0), -7.0, 7.0)
    product, model, moved, calls = (float(value) for value in np.exp(-logs) / inverse)
    found = {"product_flops": product, "model_flops": model, "moved_bytes": moved, "calls": calls}
    return rates.model_copy(update={**found, "is_measured": True})
