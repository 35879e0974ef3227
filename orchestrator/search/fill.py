"""`fill`: coefficients that close the widest gaps of each front.

Optuna's samplers reward the knee and the ends and leave gaps; along one series L0 falls with the coefficient, so the
place of a gap's middle can be read off a curve.
"""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, inf, log10, sqrt
from typing import NamedTuple

from orchestrator.search.borrow import curves
from orchestrator.search.monotone import Curve
from orchestrator.search.tried import Found, Proposal, Series, Tried, coefficients, fruitless, means, pending, rounded

NEW = 0.01
"""Decades of the coefficient by which a proposal has to differ from all others of its series."""
OTHER_PLACES = (0.35, 0.65)
"""Where in a gap to look where a trial is in the right place already, of which nothing came."""
CLIFF = 0.1
"""Decades between the last coefficient with a result and the first without: nearer, the end is all there is."""
SURE = 0.95
"""Gaps are meant to become this much smaller than they may be: trials land beside where they are expected."""
AT_AN_END = 0.3
"""Decades of the coefficient over which L0 has to change at an end by `STILL` of a gap, or the end is all there is."""
STILL = 0.1

Range = tuple[float, float]


class Gap(NamedTuple):
    """A stretch of log10 L0 without a point."""

    low: float
    high: float
    end: int = 0
    """-1 where nothing is below, 1 where nothing is above: then that end itself is looked for."""

    @property
    def width(self) -> float:
        return self.high - self.low

    def targets(self, max_gap: float) -> tuple[float, ...]:
        """Where in it to look next, best first: near the middle, so that the fewest trials make all of it small."""
        match self.end:
            case -1:
                return (self.low,)
            case 1:
                return (self.high,)
            case _:
                n_parts = max(2, ceil(self.width / (SURE * max_gap)))
                return tuple(self.low + share * self.width for share in (n_parts // 2 / n_parts, *OTHER_PLACES))

    def cut(self, place: float) -> "tuple[Gap, Gap]":
        """What is left of it with a point there."""
        at = min(max(place, self.low), self.high)
        return Gap(self.low, at, min(self.end, 0)), Gap(at, self.high, max(self.end, 0))

    @property
    def text(self) -> str:
        return f"from L0 {10**self.low:.3g} to {10**self.high:.3g}"


@dataclass(frozen=True)
class Fill:
    """Asks until no gap in log10 L0 is wider than `max_gap`, within the range of L0 that each series is wanted in."""

    l0: Mapping[Series, Range]
    max_gap: float
    """Decades."""
    label: str = "fill"

    def ask(self, tried: Sequence[Tried], n: int, left: int | None = None) -> list[Proposal]:
        """The `n` widest gaps of all series first; what is proposed counts with its predicted L0."""
        known = curves(tried, list(self.l0), "l0", rises=False)
        lines = {series: _Line(series, tried, curve, self.l0[series], self.max_gap) for series, curve in known.items()}
        queue = [(-gap.width, series.order, gap, series) for series, line in lines.items() for gap in line.gaps()]
        heapq.heapify(queue)
        proposals: list[Proposal] = []
        while queue and len(proposals) < n:
            *_, gap, series = heapq.heappop(queue)
            if (place := lines[series].place_in(gap)) is None:
                continue
            coefficient, expected = place
            proposals.append(Proposal(series, coefficient, f"gap {gap.text}"))
            for part in gap.cut(expected):
                if part.width > self.max_gap:
                    heapq.heappush(queue, (-part.width, series.order, part, series))
        return proposals

    def found(self, tried: Sequence[Tried]) -> list[Found]:
        """The widest gap that is left in each series."""
        return [self._found(tried, series) for series in sorted(self.l0, key=lambda series: series.order)]

    def widest(self, tried: Sequence[Tried], series: Series) -> Gap:
        """Of all that are left; the whole range where there is no point yet."""
        places = sorted(log10(value) for value in means(tried, series, "l0").values() if value > 0)
        return max(stretches(places, self.l0[series]), key=lambda gap: gap.width, default=Gap(0.0, 0.0))

    def _found(self, tried: Sequence[Tried], series: Series) -> Found:
        gap, n = self.widest(tried, series), len(means(tried, series, "l0"))
        reached = gap.width <= self.max_gap
        text = f"{series.name}: widest gap {gap.width:.2f} decades, {gap.text}, with {n} coefficients"
        if not reached:
            text += f"; asked for {self.max_gap:g}" + ("" if gap.end == 0 else ", and nothing was found there")
        numbers = {"series": series.name, "gap": gap.width, "l0_from": 10**gap.low, "l0_to": 10**gap.high}
        return Found(text, reached, numbers)


class _Line:
    """One series along L0, while proposals are made."""

    def __init__(self, series: Series, tried: Sequence[Tried], curve: Curve, l0: Range, max_gap: float) -> None:
        self._curve, self._l0, self._max_gap = curve, l0, max_gap
        self._measured = {c: value for c, value in means(tried, series, "l0").items() if value > 0}
        self._fruitless = fruitless(tried, series, "l0")
        self._taken = coefficients(tried, series)
        predicted = [curve.at(coefficient) for coefficient in sorted(pending(tried, series))]
        self._places = sorted([*map(log10, self._measured.values()), *predicted])

    def gaps(self) -> Iterator[Gap]:
        for gap in stretches(self._places, self._l0):
            if gap.width > self._max_gap and not self._is_all_there_is(gap):
                yield gap

    def place_in(self, gap: Gap) -> tuple[float, float] | None:
        """A new coefficient and the log10 of L0 expected there. None: the curve is a cliff there, or ends there."""
        for target in gap.targets(self._max_gap):
            within = self._within(self._curve.where(target))
            if within is None:
                return None
            coefficient = rounded(within)
            if all(abs(log10(coefficient / other)) >= NEW for other in self._taken):
                self._taken.add(coefficient)
                return coefficient, self._curve.at(coefficient)
        return None

    def _within(self, coefficient: float) -> float | None:
        """Not beyond a trial of which nothing came, such as one in which nothing fires: half-way there instead, or None
        where that is near already."""
        if not self._measured:
            return coefficient
        low, high = min(self._measured), max(self._measured)
        too_high = min((each for each in self._fruitless if each > high), default=inf)
        too_low = max((each for each in self._fruitless if each < low), default=0.0)
        if too_low < coefficient < too_high:
            return coefficient
        inner, outer = (high, too_high) if coefficient >= too_high else (low, too_low)
        return sqrt(inner * outer) if abs(log10(outer / inner)) > CLIFF else None

    def _is_all_there_is(self, gap: Gap) -> bool:
        """At an end: whether L0 has stopped to change with the coefficient."""
        if gap.end == 0 or len(self._measured) < 2:
            return False
        at_end, *others = sorted(self._measured, reverse=gap.end < 0)
        far = [each for each in others if abs(log10(each / at_end)) >= AT_AN_END]
        if not far:
            return False
        return abs(log10(self._measured[at_end] / self._measured[far[0]])) < STILL * self._max_gap


def stretches(places: Sequence[float], l0: Range) -> Iterator[Gap]:
    """Between neighbours and up to the ends, as far as they lie in the range. `places`: log10 of L0, ascending."""
    low, high = map(log10, l0)
    if not places:
        yield Gap(low, high)
        return
    if places[0] > low:
        yield Gap(low, min(places[0], high), end=-1)
    for below, above in pairwise(places):
        gap = Gap(max(below, low), min(above, high))
        if gap.width > 0:
            yield gap
    if places[-1] < high:
        yield Gap(max(places[-1], low), high, end=1)
