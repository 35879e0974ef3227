"""One number for a whole frontier: its CE loss increase as a share of local's, at equal L0.

The definition behind the paper's "45 %" (section 3.1): the mean of CE_loss(x) / CE_local(x) over 20 evenly spaced x,
each frontier interpolated linearly in x. The paper takes L0 from 50 to 300 at layer 6; without a range we take what the
frontiers of all losses cover. No metric is taken by its logarithm here; shares of several seeds are, so that their mean
is geometric and no interval reaches below 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.fronts.along import Curve
from orchestrator.fronts.certainty import estimate
from orchestrator.fronts.schema import Objective
from orchestrator.fronts.series import BASELINE, Place, Series

N_POINTS = 20


@dataclass(frozen=True)
class Share:
    """A loss against local over a range of `plane.x`."""

    loss: str
    mean: float
    low: float | None
    high: float | None
    """95 % interval over seeds; None with fewer than three."""
    x_from: float
    x_to: float
    n_seeds: int
    """Seeds that both have; 0 where they share none, and the frontiers of all seeds together are compared."""


def shares(place: Place, plane: Objective, *, x_range: tuple[float, float] | None = None) -> dict[str, Share]:
    """By loss, local among them with 1; empty without local.

    All are over one range of x. Where the frontiers share none, each loss is over what it shares with local; one that
    shares nothing with it is left out.
    """
    usable = {loss: series for loss, series in place.series.items() if series.has(plane)}
    if BASELINE not in usable:
        return {}
    curves = {loss: _curves(series, plane, _shared_seeds(usable)) for loss, series in usable.items()}
    whole = x_range or _common([curve for by_seed in curves.values() for curve in by_seed.values()], plane.x)
    found: dict[str, Share | None] = {}
    for loss, by_seed in curves.items():
        own = [*by_seed.values(), *curves[BASELINE].values()]
        low, high = whole if whole[0] < whole[1] else _common(own, plane.x)
        points = np.linspace(low, high, N_POINTS)
        found[loss] = _share(loss, by_seed, curves[BASELINE], plane, points) if low < high else None
    return {loss: share for loss, share in found.items() if share is not None}


def _share(
    loss: str, ours: Mapping[int | None, Curve], local: Mapping[int | None, Curve], plane: Objective, points: np.ndarray
) -> Share | None:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.array(
            [np.mean(ours[seed].along(plane.x, points) / local[seed].along(plane.x, points)) for seed in ours]
        )
    if not np.isfinite(ratios).all():
        return None
    is_ratio = bool((ratios > 0).all())  # else a CE loss increase is below 0, and a logarithm says nothing
    found = estimate(np.log(ratios) if is_ratio else ratios)
    ends = (found.mean, found.low, found.high)
    n_seeds = 0 if None in ours else len(ours)
    mean, low, high = (None if end is None else float(np.exp(end)) if is_ratio else end for end in ends)
    assert mean is not None
    return Share(loss, mean, low, high, float(points[0]), float(points[-1]), n_seeds)


def _shared_seeds(series: Mapping[str, Series]) -> list[int]:
    return sorted(set[int].intersection(*(set(one.seeds) for one in series.values())))


def _curves(series: Series, plane: Objective, seeds: Sequence[int]) -> dict[int | None, Curve]:
    """By seed, or of all together where the losses share no seed."""
    if not seeds:
        return {None: Curve(series, plane, logs=False)}
    return {seed: Curve(one, plane, logs=False) for seed, one in series.by_seed.items() if seed in seeds}


def _common(curves: Sequence[Curve], metric: str) -> tuple[float, float]:
    ranges = [found for curve in curves if (found := curve.range(metric)) is not None]
    if len(ranges) < len(curves):
        return (0.0, 0.0)
    return max(low for low, _ in ranges), min(high for _, high in ranges)
