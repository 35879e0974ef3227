"""When the last of some packs ends that run side by side, each slot taking the next one as it gets free. Pure."""

import random
from collections.abc import Sequence
from heapq import heapify, heapreplace

DRAWS, ERROR = 8, 0.15
"""Schedules are compared under this many draws of packs that take longer or shorter than estimated."""


def finishing_s(seconds: Sequence[float], n_slots: int) -> float:
    """When the last of these packs ends, if each slot takes the next one in their order as soon as it is free."""
    ends = [0.0] * max(1, n_slots)
    heapify(ends)
    for each in seconds:
        heapreplace(ends, ends[0] + each)
    return max(ends)


def likely_finishing_s(seconds: Sequence[float], n_slots: int) -> float:
    """The same, mean over draws of packs that take longer or shorter than estimated. Always the same draws.

    Each draw comes with its mirror image, so that one slot takes as long as estimated however packs are cut.
    """
    dice = random.Random(0)
    ends = 0.0
    for _ in range(DRAWS // 2):
        errors = [min(0.9, max(-0.9, dice.gauss(0.0, ERROR))) for _ in seconds]
        for sign in (1, -1):
            draw = [each * (1 + sign * error) for each, error in zip(seconds, errors, strict=True)]
            ends += finishing_s(draw, n_slots)
    return ends / (2 * (DRAWS // 2))
