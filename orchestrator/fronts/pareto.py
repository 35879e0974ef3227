"""Dominance and hypervolume on plain numbers. Only minimises: whoever knows what is better turns the signs first.

The algorithms are moocore's; here is what they mean for us. Equal costs dominate each other nowhere, so all of them are
on the frontier.
"""

import moocore
import numpy as np
from jaxtyping import Bool, Float, Int

NOBODY = -1


def pareto_mask(costs: Float[np.ndarray, "trials objectives"]) -> Bool[np.ndarray, " trials"]:
    """True where no other trial is at least as good everywhere and better somewhere.

    Trials with equal costs are all on the frontier. NaN and infinities raise `ValueError`: filter failed trials first.
    """
    _check_finite(costs)
    if len(costs) == 0:
        return np.zeros(0, dtype=bool)
    return np.asarray(moocore.is_nondominated(costs, keep_weakly=True), dtype=bool)


def dominators(
    costs: Float[np.ndarray, "trials objectives"], on_front: Bool[np.ndarray, " trials"]
) -> Int[np.ndarray, " trials"]:
    """For each trial the index of one that dominates it and is itself on the frontier; -1 for trials on the frontier.

    Of several the one with the lowest last cost, then the lowest other costs, then the first. `on_front` is their
    `pareto_mask`.
    """
    found = np.full(len(costs), NOBODY)
    front = np.flatnonzero(on_front)
    # Lowest last cost first, equal costs in their order: lexsort is stable. Of equal costs one is enough.
    front = front[np.lexsort(costs[front].T)]
    front = front[np.concatenate([[True], (np.diff(costs[front], axis=0) != 0).any(axis=1)])] if len(front) else front
    left = np.flatnonzero(~on_front)
    if costs.shape[1] == 2 and len(left):
        by_x = front[::-1]  # along a frontier of two objectives the last cost falls as the first rises
        found[left] = by_x[np.searchsorted(costs[by_x, 0], costs[left, 0], side="right") - 1]
        return found
    for member in front:
        dominated = (costs[left] >= costs[member]).all(axis=1)
        found[left[dominated]] = member
        left = left[~dominated]
        if len(left) == 0:
            break
    return found


def hypervolume(costs: Float[np.ndarray, "trials objectives"], *, reference: Float[np.ndarray, " objectives"]) -> float:
    """Volume of what the trials dominate up to `reference`; 0 where none is below it in every objective."""
    _check_finite(costs)
    return float(moocore.hypervolume(costs, ref=reference)) if len(costs) else 0.0


def hypervolume_contributions(
    costs: Float[np.ndarray, "trials objectives"], *, reference: Float[np.ndarray, " objectives"]
) -> Float[np.ndarray, " trials"]:
    """Volume that the frontier loses with this trial alone: 0 if dominated, and 0 if another has equal costs."""
    found = np.zeros(len(costs))
    front = np.flatnonzero(pareto_mask(costs))
    if len(front):
        # With four objectives the library measures each trial anew: dominated ones would only cost time.
        found[front] = moocore.hv_contributions(costs[front], ref=reference)
    return found


def _check_finite(costs: Float[np.ndarray, "trials objectives"]) -> None:
    if np.isfinite(costs).all():
        return
    broken = int(np.flatnonzero(~np.isfinite(costs).all(axis=1))[0])
    raise ValueError(f"costs of trial {broken} are {costs[broken].tolist()}: expected finite numbers only")
