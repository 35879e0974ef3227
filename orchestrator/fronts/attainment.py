"""Seeds as uncertainty about a frontier: what a quarter, half and three quarters of the seeds attain.

A seed attains a point if one of its trials is at least as good in every objective. The surface of level q bounds the
points that at least a share q of the seeds attains: the empirical attainment function (Fonseca, Guerreiro,
Lopez-Ibanez, Paquete 2011), by moocore.
"""

from collections.abc import Mapping, Sequence

import moocore
import numpy as np
from jaxtyping import Float

from orchestrator.fronts.costs import costs_of, values_of
from orchestrator.fronts.schema import Objective
from orchestrator.fronts.series import Series

LEVELS = (0.25, 0.5, 0.75)
MOST_OBJECTIVES_HERE = 3
"""The library computes surfaces of two and three objectives."""

Points = Float[np.ndarray, "points objectives"]


def surfaces(series: Series, objective: Objective, levels: Sequence[float] = LEVELS) -> dict[float, Points]:
    """By level the corners of the surface, as metrics, sorted. Empty for more than three objectives."""
    if len(objective) > MOST_OBJECTIVES_HERE:
        return {}
    costs = costs_of({name: series[name] for name in objective}, objective)
    found = attainment(costs, series["seed"], levels)
    return {level: values_of(points, objective) for level, points in found.items()}


def attainment(
    costs: Float[np.ndarray, "trials objectives"], seeds: np.ndarray, levels: Sequence[float] = LEVELS
) -> Mapping[float, Points]:
    """By level the non-dominated costs that at least that share of the seeds attains."""
    sets = np.unique(seeds, return_inverse=True)[1]
    order = np.argsort(sets, kind="stable")
    percentiles = [100 * level for level in levels]
    found = np.asarray(moocore.eaf(costs[order], sets[order], percentiles=percentiles))
    return {
        level: np.unique(found[np.isclose(found[:, -1], percentile), :-1], axis=0)
        for level, percentile in zip(levels, percentiles, strict=True)
    }
