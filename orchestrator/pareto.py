"""Dominance and hypervolume on plain numbers. Only minimises: whoever knows what is better turns the signs first.

The algorithms are moocore's; here is what they mean for us. Equal costs dominate each other nowhere, so all of them are
on the frontier.
"""

import moocore
import numpy as np
from jaxtyping import Bool, Float


def pareto_mask(costs: Float[np.ndarray, "trials objectives"]) -> Bool[np.ndarray, " trials"]:
    """True where no other trial is at least as good everywhere and better somewhere.

    Trials with equal costs are all on the frontier. NaN and infinities raise `ValueError`: filter failed trials first.
    """
    _check_finite(costs)
    if len(costs) == 0:
        return np.zeros(0, dtype=bool)
    return np.asarray(moocore.is_nondominated(costs, keep_weakly=True), dtype=bool)


def dominators(costs: Float[np.ndarray, "trials objectives"]) -> list[int | None]:
    """For each trial one that dominates it and is itself on the frontier; None for trials on the frontier.

    Of several the one with the lowest last cost, then the lowest other costs, then the first.
    """
    front = np.flatnonzero(pareto_mask(costs))
    by_last_cost = front[np.lexsort(costs[front].T)]
    return [_first_dominator(cost, costs, by_last_cost) for cost in costs]


def hypervolume(costs: Float[np.ndarray, "trials objectives"], *, reference: Float[np.ndarray, " objectives"]) -> float:
    """Volume of what the trials dominate up to `reference`; 0 where none is below it in every objective."""
    _check_finite(costs)
    return float(moocore.hypervolume(costs, ref=reference)) if len(costs) else 0.0


def hypervolume_contributions(
    costs: Float[np.ndarray, "trials objectives"], *, reference: Float[np.ndarray, " objectives"]
) -> Float[np.ndarray, " trials"]:
    """Volume that the frontier loses with this trial alone: 0 if dominated, and 0 if another has equal costs."""
    _check_finite(costs)
    if len(costs) == 0:
        return np.zeros(0)
    return np.asarray(moocore.hv_contributions(costs, ref=reference), dtype=np.float64)


def _first_dominator(
    cost: Float[np.ndarray, " objectives"], costs: Float[np.ndarray, "trials objectives"], candidates: np.ndarray
) -> int | None:
    dominates = (costs[candidates] <= cost).all(axis=1) & (costs[candidates] < cost).any(axis=1)
    return int(candidates[dominates.argmax()]) if dominates.any() else None


def _check_finite(costs: Float[np.ndarray, "trials objectives"]) -> None:
    broken = np.flatnonzero(~np.isfinite(costs).all(axis=1))
    if len(broken):
        raise ValueError(f"costs of trial {broken[0]} are {costs[broken[0]].tolist()}: expected finite numbers only")
