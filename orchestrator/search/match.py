"""`match`: the coefficient of each series at which a metric meets a target. What the paper did by hand for Tables 1, 2.

Along a series CE loss increase rises and L0 falls with the coefficient, so the target is bracketed and closed in on by
interpolation of the logarithms, kept off the ends of the bracket.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, log10, sqrt

from orchestrator.search.borrow import curves
from orchestrator.search.monotone import FARTHEST, Curve
from orchestrator.search.tried import Found, Proposal, Series, Tried, coefficients, fruitless, means, rounded

RISES = {"ce_loss_increase": True, "l0": False, "kl_div_with_sae": True, "mse": True, "n_alive_elements": False}
"""Metrics that can be matched, and whether they rise with the coefficient."""
EDGE = 0.1
"""Share of a bracket, in decades, that a proposal keeps from both of its ends."""
LEAST = 0.03
"""Decades that a proposal goes at least beyond the last known coefficient, where the target lies farther on."""


@dataclass(frozen=True)
class Match:
    """Asks, one trial per series and round, until each has one within `tolerance` of its target."""

    target: Mapping[Series, float]
    """Above 0."""
    metric: str
    tolerance: float
    """Relative: 0.05 is within 5 %."""
    max_trials: int
    """Coefficients tried per series, those of the grid and of other searches not counted."""
    label: str = "match"

    def ask(self, tried: Sequence[Tried], n: int, left: int | None = None) -> list[Proposal]:
        """Series farthest from the target first."""
        known = curves(tried, list(self.target), self.metric, rises=RISES[self.metric])
        wanted: list[tuple[float, Series, Proposal]] = []
        for series in self.target:
            off = self._nearest(tried, series)[1]
            if off <= self.tolerance or self._n_tried(tried, series) >= self.max_trials:
                continue
            if (coefficient := self._next(tried, series, known.get(series))) is not None:
                so_far = "nothing near yet" if off == inf else f"the nearest is {off:.1%} off"
                why = f"{self.metric} {self.target[series]:g}: {so_far}"
                wanted.append((off, series, Proposal(series, coefficient, why)))
        wanted.sort(key=lambda each: (-each[0], each[1].order))
        return [proposal for *_, proposal in wanted[:n]]

    def found(self, tried: Sequence[Tried]) -> list[Found]:
        """The nearest coefficient of each series, and how far off it is."""
        return [self._found(tried, series) for series in sorted(self.target, key=lambda series: series.order)]

    def _found(self, tried: Sequence[Tried], series: Series) -> Found:
        target = self.target[series]
        coefficient, off = self._nearest(tried, series)
        numbers: dict[str, float | str | None] = {"series": series.name, "target": target}
        if coefficient is None:
            return Found(f"{series.name}: {self.metric} {target:g} not reached: no result", False, numbers)
        value = means(tried, series, self.metric)[coefficient]
        reached = off <= self.tolerance
        numbers |= {"sparsity_coeff": coefficient, self.metric: value, "off": value / target - 1}
        text = f"{series.name}: {self.metric} {value:.4g} at coefficient {coefficient:g}, {value / target - 1:+.1%}"
        n = self._n_tried(tried, series)
        return Found(f"{text} after {n} more" if reached else f"{text}: not reached in {n} more", reached, numbers)

    def _nearest(self, tried: Sequence[Tried], series: Series) -> tuple[float | None, float]:
        """The coefficient whose value is nearest to the target, and how far off that is, as a share."""
        values = means(tried, series, self.metric)
        off = {coefficient: abs(value / self.target[series] - 1) for coefficient, value in values.items()}
        nearest = min(off, key=lambda coefficient: off[coefficient], default=None)
        return nearest, inf if nearest is None else off[nearest]

    def _n_tried(self, tried: Sequence[Tried], series: Series) -> int:
        mine = [each for each in tried if each.search == self.label]
        return len(coefficients(mine, series))

    def _next(self, tried: Sequence[Tried], series: Series, curve: Curve | None) -> float | None:
        low, high = self._bracket(tried, series)
        guess = None if curve is None else curve.where(log10(self.target[series]))
        if low is None and high is None:
            coefficient = guess
        elif low is None or high is None:
            coefficient = _beyond(low, high, guess)
        else:
            edge, width = EDGE * log10(high / low), log10(high / low)
            share = width / 2 if guess is None else log10(guess / low)
            coefficient = low * 10 ** min(max(share, edge), width - edge)
        taken = coefficients(tried, series)
        if coefficient is None:
            return None
        if (coefficient := rounded(coefficient)) in taken and low is not None and high is not None:
            coefficient = rounded(sqrt(low * high))
        return None if coefficient in taken else coefficient

    def _bracket(self, tried: Sequence[Tried], series: Series) -> tuple[float | None, float | None]:
        """The largest coefficient on the near side of the target and the smallest beyond it; None where there is none.

        A trial of which nothing came, such as one in which nothing fires, lies beyond.
        """
        values, rises = means(tried, series, self.metric), RISES[self.metric]
        near = [c for c, value in values.items() if (value < self.target[series]) == rises]
        low = max(near, default=None)
        lost = fruitless(tried, series, self.metric) - values.keys()
        beyond = {c for c, value in values.items() if (value < self.target[series]) != rises} | lost
        return low, min((c for c in beyond if low is None or c > low), default=None)


def _beyond(low: float | None, high: float | None, guess: float | None) -> float:
    """A coefficient on the side that was not tried yet."""
    if low is not None:
        steps = FARTHEST / 2 if guess is None else log10(guess / low)
        return low * 10 ** min(max(steps, LEAST), FARTHEST)
    assert high is not None
    steps = FARTHEST / 2 if guess is None else log10(high / guess)
    return high / 10 ** min(max(steps, LEAST), FARTHEST)
