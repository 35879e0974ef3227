"""`fill` by hypervolume: coefficients that should add most to the front of their series in L0 and CE loss increase.

As the frontier measures it: L0 by its logarithm, CE as it is, both to be small. What is left of the budget is laid out
as a whole, as `layout.py` does it; of that plan comes first what adds most.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log10

import numpy as np

from orchestrator.search.borrow import curves
from orchestrator.search.fill import Range
from orchestrator.search.layout import Layout, Place
from orchestrator.search.monotone import Curve
from orchestrator.search.tried import Found, Proposal, Series, Tried, coefficients, means, pending, rounded

X, Y = "l0", "ce_loss_increase"
BEYOND = 0.3
"""Decades of the coefficient beyond those that were tried, in which something is looked for."""
N_CANDIDATES = 97
NEW = 0.03
"""Decades by which a proposal has to differ from all others of its series: what is expected of less is only noise."""
FARTHEST_AHEAD = 24
"""Trials of one series that are laid out together."""


@dataclass(frozen=True)
class FillVolume:
    """Asks until no trial is expected to add more than `min_gain`."""

    l0: Mapping[Series, Range]
    """Nothing is looked for outside."""
    worst_ce: float | None
    """Up to which CE loss increase hypervolume counts; None: the largest that the grid has in the series, or that is
    expected at the low end of the range."""
    min_gain: float
    """Share of the hypervolume that is to be had in the series; what is expected to add less is not worth a trial."""
    worst_l0: float | None = None
    """Up to which L0 hypervolume counts; None: the high end of the series' range."""
    label: str = "fill"

    def ask(self, tried: Sequence[Tried], n: int, left: int | None = None) -> list[Proposal]:
        """Those first that add most to what there is and to what is proposed before them."""
        layouts = self._layouts(tried)
        wanted: list[tuple[float, Series, float]] = []
        for series, n_places in self._shared_out(layouts, max(n, left or 0)).items():
            places = layouts[series].best(n_places)
            wanted += [(gain, series, each.coefficient) for gain, each in layouts[series].in_order(places)]
        wanted.sort(key=lambda each: (-each[0], each[1].order, each[2]))
        return [
            Proposal(series, coefficient, f"expected to add {100 * gain:.2g} % of hypervolume")
            for gain, series, coefficient in wanted[:n]
        ]

    def found(self, tried: Sequence[Tried]) -> list[Found]:
        """What the best next trial should add."""
        layouts = self._layouts(tried)
        left = {series: gain for series, each in layouts.items() if (gain := each.gain(1)) > self.min_gain}
        return [
            Found(
                f"{series.name}: {_said(left.get(series), self.min_gain)}, "
                f"with {len(means(tried, series, X))} coefficients",
                series not in left,
                {"series": series.name},
            )
            for series in sorted(self.l0, key=lambda series: series.order)
        ]

    def _shared_out(self, layouts: Mapping[Series, Layout], left: int) -> dict[Series, int]:
        """How many trials each series gets of those that are left: one after another to where one more adds most."""
        counts = dict.fromkeys(layouts, 0)
        # The first of a series is worth least on its own while more follow: what it adds alone says whether to go on.
        open_series = {series for series, each in layouts.items() if each.gain(1) > self.min_gain}
        for _ in range(left):
            gains = {
                series: layouts[series].gain(counts[series] + 1)
                for series in open_series
                if counts[series] < FARTHEST_AHEAD
            }
            best = min(gains, key=lambda series: (-gains[series], series.order), default=None)
            if best is None or gains[best] <= 0:
                break
            counts[best] += 1
        return {series: count for series, count in counts.items() if count}

    def _layouts(self, tried: Sequence[Tried]) -> dict[Series, Layout]:
        series = list(self.l0)
        falling, rising = curves(tried, series, X, rises=False), curves(tried, series, Y, rises=True)
        return {
            each: self._layout(each, tried, falling[each], rising[each])
            for each in series
            if each in falling and each in rising and coefficients(tried, each)
        }

    def _layout(self, series: Series, tried: Sequence[Tried], x: Curve, y: Curve) -> Layout:
        low, high = self.l0[series]
        worst_ce = self.worst_ce
        if worst_ce is None:
            in_grid = means([each for each in tried if each.round == 0], series, Y).values()
            worst_ce = max([*in_grid, 10 ** y.at(x.where(log10(low)))])
        reference = log10(self.worst_l0 or high), worst_ce
        taken = coefficients(tried, series)
        xs, ys = means(tried, series, X), means(tried, series, Y)
        there = [Place(log10(xs[each]), ys[each], each) for each in xs if each in ys and xs[each] > 0]
        # What runs still counts as predicted.
        there += [Place(x.at(each), 10 ** y.at(each), each) for each in sorted(pending(tried, series))]
        ends = log10(min(taken)) - BEYOND, log10(max(taken)) + BEYOND
        new = [
            Place(at, 10 ** y.at(each), each)
            for each in sorted({rounded(10**exponent) for exponent in np.linspace(*ends, N_CANDIDATES)})
            if all(abs(log10(each / other)) >= NEW for other in taken) and low <= 10 ** (at := x.at(each)) <= high
        ]
        return Layout(there, new, reference)


def _said(gain: float | None, least: float) -> str:
    if gain is None:
        return f"no trial is expected to add {100 * least:g} %"
    return f"one more is expected to add {100 * gain:.2g} % of hypervolume"
