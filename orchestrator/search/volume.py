"""`fill` by hypervolume: coefficients that should add most to the front of their series in L0 and CE loss increase.

As the frontier measures it: L0 by its logarithm, CE as it is, both to be small.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log10

import numpy as np

from orchestrator.fronts.pareto import hypervolume
from orchestrator.search.borrow import curves
from orchestrator.search.fill import Range
from orchestrator.search.monotone import Curve
from orchestrator.search.tried import Found, Proposal, Series, Tried, coefficients, means, rounded

X, Y = "l0", "ce_loss_increase"
BEYOND = 0.3
"""Decades of the coefficient beyond those that were tried, in which something is looked for."""
N_CANDIDATES = 65
NEW = 0.05
"""Decades by which a proposal has to differ from all others of its series: what is expected of less is only noise."""


@dataclass(frozen=True)
class Option:
    """A trial that might be proposed, and what it should add."""

    gain: float
    """As a share of the hypervolume that there is."""
    series: Series
    coefficient: float
    point: np.ndarray


@dataclass(frozen=True)
class FillVolume:
    """Asks until no trial is expected to add more than `min_gain`."""

    l0: Mapping[Series, Range]
    """Hypervolume counts up to the higher of the two; nothing is looked for outside."""
    worst_ce: float | None
    """Up to which CE loss increase hypervolume counts; None: the largest that the grid has in the series, or that is
    expected at the low end of the range."""
    min_gain: float
    """Share of the series' hypervolume; what is expected to add less is not worth a trial."""
    label: str = "fill"

    def ask(self, tried: Sequence[Tried], n: int) -> list[Proposal]:
        """Greedily: each proposal counts as done, as predicted, for those after it."""
        series = list(self.l0)
        falling, rising = curves(tried, series, X, rises=False), curves(tried, series, Y, rises=True)
        fronts = {
            each: _Front(each, tried, falling[each], rising[each], self.l0[each], self.worst_ce)
            for each in series
            if each in falling and each in rising and coefficients(tried, each)
        }
        best = {each: front.best() for each, front in fronts.items()}
        proposals: list[Proposal] = []
        while len(proposals) < n:
            options = [option for option in best.values() if option is not None and option.gain > self.min_gain]
            if not options:
                break
            option = min(options, key=lambda option: (-option.gain, option.series.order))
            why = f"expected to add {100 * option.gain:.2g} % of hypervolume"
            proposals.append(Proposal(option.series, option.coefficient, why))
            fronts[option.series].add(option)
            best[option.series] = fronts[option.series].best()
        return proposals

    def found(self, tried: Sequence[Tried]) -> list[Found]:
        """What the best next trial should add."""
        left = {proposal.series: proposal.why for proposal in self.ask(tried, 10**6)}
        return [
            Found(
                f"{series.name}: {left.get(series, f'no trial is expected to add {100 * self.min_gain:g} %')}, "
                f"with {len(means(tried, series, X))} coefficients",
                series not in left,
                {"series": series.name},
            )
            for series in sorted(self.l0, key=lambda series: series.order)
        ]


class _Front:
    """One series, while proposals are made."""

    def __init__(
        self, series: Series, tried: Sequence[Tried], x: Curve, y: Curve, l0: Range, worst: float | None
    ) -> None:
        self._series, self._x, self._y, self._l0 = series, x, y, l0
        self._taken = coefficients(tried, series)
        xs, ys = means(tried, series, X), means(tried, series, Y)
        points = [[log10(xs[each]), ys[each]] for each in xs if each in ys and xs[each] > 0]
        self._points = np.array(points, dtype=float).reshape(-1, 2)
        if worst is None:
            in_grid = means([each for each in tried if each.round == 0], series, Y).values()
            worst = max([*in_grid, 10 ** y.at(x.where(log10(l0[0])))])
        self._reference = np.array([log10(l0[1]), worst])

    def best(self) -> Option | None:
        """The trial that should add most, of those that are new and in the range."""
        ends = log10(min(self._taken)) - BEYOND, log10(max(self._taken)) + BEYOND
        whole = hypervolume(self._points, reference=self._reference)
        found: Option | None = None
        for coefficient in sorted({rounded(10**each) for each in np.linspace(*ends, N_CANDIDATES)}):
            x, y = self._x.at(coefficient), 10 ** self._y.at(coefficient)
            is_new = all(abs(log10(coefficient / other)) >= NEW for other in self._taken)
            if not is_new or not self._l0[0] <= 10**x <= self._l0[1]:
                continue
            point = np.array([[x, y]])
            more = hypervolume(np.vstack([self._points, point]), reference=self._reference) - whole
            gain = more / whole if whole > 0 else float(more > 0)  # the first of the front is worth most
            if found is None or gain > found.gain:
                found = Option(gain, self._series, coefficient, point)
        return found

    def add(self, option: Option) -> None:
        """Count it as done."""
        self._taken.add(option.coefficient)
        self._points = np.vstack([self._points, option.point])
