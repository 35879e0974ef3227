"""Curves for every series. Those with few points borrow from a neighbour: same loss at the next layer, else others."""

from collections.abc import Sequence
from math import log10

from orchestrator.search.monotone import Curve
from orchestrator.search.tried import Series, Tried, means

ENOUGH = 2
"""Points that make a curve of one's own."""


def curves(tried: Sequence[Tried], all_series: Sequence[Series], metric: str, *, rises: bool) -> dict[Series, Curve]:
    """A curve of log10 of the metric over the coefficient for every series that has a point or a neighbour with some.

    A borrowed curve goes through the series' own point, where it has one.
    """
    points = {
        series: {c: log10(value) for c, value in means(tried, series, metric).items() if value > 0}
        for series in all_series
    }
    own = {series: Curve.through(points[series], rises=rises) for series in all_series}
    rich = {series: curve for series, curve in own.items() if curve is not None and len(points[series]) >= ENOUGH}
    found: dict[Series, Curve] = {}
    for series in all_series:
        curve = rich.get(series)
        if curve is None and rich:
            curve = rich[_nearest(series, rich)]
            if points[series]:
                ((coefficient, y),) = points[series].items()
                curve = curve.shifted(y - curve.at(coefficient))
        curve = curve or own[series]
        if curve is not None:
            found[series] = curve
    return found


def _nearest(series: Series, others: dict[Series, Curve]) -> Series:
    def distance(other: Series) -> tuple[object, ...]:
        loss, layer = other.loss != series.loss, abs(other.layer - series.layer)
        return loss, layer, other.rest != series.rest, other.order

    return min(others, key=distance)
