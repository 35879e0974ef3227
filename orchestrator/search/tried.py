"""What a search sees and says: series of trials, what came of each, and proposals. No files, no configs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol


class Series(NamedTuple):
    """Trials that differ by coefficient and seed only: one curve through the planes."""

    layer: int
    loss: str
    rest: tuple[tuple[str, Any], ...] = ()
    """Further axes of the grid with their values, sorted by name."""

    @property
    def order(self) -> tuple[int, str, str]:
        """By which series are sorted: values of one axis may be of several types."""
        return self.layer, self.loss, repr(self.rest)

    @property
    def name(self) -> str:
        """For people, such as `L3 e2e` or `L3 e2e train.lr 0.001`."""
        return " ".join([f"L{self.layer} {self.loss}", *(f"{axis} {value}" for axis, value in self.rest)])


@dataclass(frozen=True)
class Tried:
    """One trial of the sweep. `metrics` is None while it has no result; `failed` when it never will have one, and
    `dominated` when it was stopped for that: what it had come to then is no result."""

    series: Series
    sparsity_coeff: float
    seed: int
    metrics: Mapping[str, float] | None = None
    failed: bool = False
    dominated: Mapping[str, float] | None = None
    search: str = ""
    """Label of the search that proposed it; empty for those of the grid."""
    round: int = 0
    """Of that search; 0 for the grid."""

    @property
    def has_ended(self) -> bool:
        return self.metrics is not None or self.failed or self.dominated is not None

    @property
    def point(self) -> "Point":
        return self.series, self.sparsity_coeff


Point = tuple[Series, float]
"""A series and a coefficient: what a proposal asks for, and trials of several seeds share."""


@dataclass(frozen=True)
class Proposal:
    """A trial to run: once for every seed of the sweep."""

    series: Series
    sparsity_coeff: float
    why: str = field(default="", compare=False)
    """For people: what it is meant to find out."""


@dataclass(frozen=True)
class Found:
    """What a search has come to, for one series or for all."""

    text: str
    """For people."""
    reached: bool
    """Whether it is what was looked for."""
    numbers: Mapping[str, float | str | None]
    """The same for machines."""


class Planner(Protocol):
    """Asked whenever nothing is left to run."""

    @property
    def label(self) -> str:
        """What is looked for, such as `match ce_loss_increase 0.1`. Another search has another label."""
        ...

    def ask(self, tried: Sequence[Tried], n: int, left: int | None = None) -> list[Proposal]:
        """At most `n` new proposals, best first; none when the search has what it wants. Always the same for the same
        `tried`, in any order. `left`: how many proposals the budget has left, these included, where that is known."""
        ...

    def found(self, tried: Sequence[Tried]) -> list[Found]:
        """What has come of it so far."""
        ...


def rounded(value: float) -> float:
    """Three significant digits: names of runs stay readable, and equal proposals are equal."""
    return float(f"{value:.3g}")


def means(tried: Sequence[Tried], series: Series, metric: str) -> dict[float, float]:
    """The metric by coefficient, over the seeds that have it, coefficients ascending."""
    found: dict[float, list[float]] = {}
    for each in sorted(tried, key=lambda each: (each.sparsity_coeff, each.seed)):
        if each.series == series and each.metrics is not None and metric in each.metrics:
            found.setdefault(each.sparsity_coeff, []).append(each.metrics[metric])
    return {coefficient: sum(values) / len(values) for coefficient, values in found.items()}


def coefficients(tried: Sequence[Tried], series: Series) -> set[float]:
    """Those that were tried at all, failures included."""
    return {each.sparsity_coeff for each in tried if each.series == series}


def pending(tried: Sequence[Tried], series: Series) -> set[float]:
    """Those of which nothing is known yet, and something will be."""
    mine = [each for each in tried if each.series == series]
    known = {each.sparsity_coeff for each in mine if each.metrics is not None}
    return {each.sparsity_coeff for each in mine if not each.has_ended} - known


def fruitless(tried: Sequence[Tried], series: Series, metric: str) -> set[float]:
    """Those whose trials ended with no such number that a logarithm can be taken of: failed, or nothing fires."""
    useful = {coefficient for coefficient, value in means(tried, series, metric).items() if value > 0}
    dominated = {each.sparsity_coeff for each in tried if each.series == series and each.dominated is not None}
    return coefficients(tried, series) - useful - pending(tried, series) - dominated
