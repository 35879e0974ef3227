"""What a search may choose from, for planners that draw over several fields: ranges and lists of values, by field."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.search.tried import Series, rounded

COEFFICIENT = "sparsity_coeff"


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; drawn evenly in their logarithms if `log`."""

    low: float
    high: float
    log: bool = False
    whole: bool = False
    """Whole numbers only."""


Choices = Range | tuple[Any, ...]


@dataclass(frozen=True)
class Group:
    """A layer and a loss, with what may be chosen for it. Has a front of its own, and so is searched on its own."""

    layer: int
    loss: str
    space: Mapping[str, Choices]
    """By `sparsity_coeff` or dotted field. The coefficient is always in it."""

    @property
    def name(self) -> str:
        return f"L{self.layer} {self.loss}"

    def holds(self, series: Series) -> bool:
        return (series.layer, series.loss) == (self.layer, self.loss)

    def point(self, drawn: Mapping[str, Any]) -> tuple[Series, float]:
        """The series and the coefficient of these values, to three digits."""
        values = {name: _short(choices, drawn[name]) for name, choices in self.space.items()}
        rest = tuple(sorted((name, value) for name, value in values.items() if name != COEFFICIENT))
        return Series(self.layer, self.loss, rest), values[COEFFICIENT]

    def values_of(self, series: Series, coefficient: float) -> dict[str, Any] | None:
        """A trial as a point of this space; None where it lies outside, as those of the grid may."""
        values = {COEFFICIENT: coefficient, **dict(series.rest)}
        inside = values.keys() == self.space.keys() and all(
            _within(choices, values[name]) for name, choices in self.space.items()
        )
        return values if inside else None


def _short(choices: Choices, value: Any) -> Any:
    if not isinstance(choices, Range) or choices.whole:
        return value
    return min(max(rounded(value), choices.low), choices.high)


def _within(choices: Choices, value: Any) -> bool:
    if isinstance(choices, Range):
        return isinstance(value, int | float) and choices.low <= value <= choices.high
    return value in choices
