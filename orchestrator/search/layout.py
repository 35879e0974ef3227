"""Where along one front to put so many trials more that its hypervolume is largest. Two costs, exact, pure.

Trial after trial, each where it adds most by itself, is worse: the first takes the middle, and the others have to live
with it. Along a front the best places for any number of trials are found together, from one end to the other (dynamic
programming over places).
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np


class Place(NamedTuple):
    """A trial that there is or might be, with its costs."""

    x: float
    y: float
    coefficient: float


class Layout:
    """One front: trials that there are, and places where there might be more."""

    def __init__(self, there: Sequence[Place], new: Iterable[Place], reference: tuple[float, float]) -> None:
        self._there = list(there)
        self._reference = reference
        # By x; of equal ones the lower first, which then hides the other.
        self._places = sorted([*self._there, *new])
        known = {*self._there}
        self._is_new = [place not in known for place in self._places]
        self._whole = _volume(self._places, reference)
        self._chains: list[tuple[np.ndarray, np.ndarray]] = []

    def gain(self, n: int) -> float:
        """What the last of `n` trials adds, all of them placed at best; as a share of the hypervolume to be had."""
        return (self._most(n) - self._most(n - 1)) / self._whole if self._whole > 0 else 0.0

    def best(self, n: int) -> list[Place]:
        """The places of `n` trials, or of fewer where more add nothing."""
        used = min(range(n + 1), key=lambda count: (-self._volume(count), count))
        volumes, _ = self._chain(used)
        if not len(volumes) or volumes.max() <= 0:
            return []
        chosen: list[Place] = []
        index, count = int(volumes.argmax()), used
        while index >= 0:
            before = int(self._chain(count)[1][index])
            if self._is_new[index]:
                chosen.append(self._places[index])
                count -= 1
            index = before
        return chosen

    def in_order(self, chosen: Sequence[Place]) -> list[tuple[float, Place]]:
        """Those first that add most to what is there by then, each with what it adds."""
        left, there, found = list(chosen), list(self._there), list[tuple[float, Place]]()
        volume = _volume(there, self._reference)
        while left:
            with_each = [_volume([*there, place], self._reference) for place in left]
            index = max(range(len(left)), key=lambda each: (with_each[each], -left[each].coefficient))
            found.append(((with_each[index] - volume) / self._whole, left[index]))
            volume = with_each[index]
            there.append(left.pop(index))
        return found

    def _most(self, n: int) -> float:
        return max((self._volume(count) for count in range(n + 1)), default=0.0)

    def _volume(self, n: int) -> float:
        volumes, _ = self._chain(n)
        return max(0.0, float(volumes.max())) if len(volumes) else 0.0

    def _chain(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """For each place the largest volume of a chain that ends there and has exactly `n` new trials, and the place
        before it in that chain, -1 for none. A volume below 0: there is no such chain."""
        while len(self._chains) <= n:
            self._chains.append(self._next_chain(len(self._chains)))
        return self._chains[n]

    def _next_chain(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        widths, heights = self._sides
        volumes = np.full(len(widths), -1.0)
        befores = np.full(len(widths), -1)
        same = volumes  # filled from left to right
        fewer = self._chains[n - 1][0] if n else None
        for index, is_new in enumerate(self._is_new):
            if n == (1 if is_new else 0):
                volumes[index] = widths[index] * heights[index]
            source = fewer if is_new else same
            if source is None or index == 0:
                continue
            more = widths[index] * (heights[index] - heights[:index])  # a chain only rises
            sums = np.where((source[:index] >= 0) & (more > 0), source[:index] + more, -1.0)
            if sums.max() > volumes[index]:
                volumes[index], befores[index] = sums.max(), int(sums.argmax())
        return volumes, befores

    @cached_property
    def _sides(self) -> tuple[np.ndarray, np.ndarray]:
        """How far each place is from the reference."""
        costs = np.array([place[:2] for place in self._places], dtype=float).reshape(-1, 2)
        widths, heights = np.maximum(0.0, np.array(self._reference) - costs).T
        return widths, heights


def _volume(places: Sequence[Place], reference: tuple[float, float]) -> float:
    total = highest = 0.0
    for place in sorted(places):
        if place.x < reference[0] and reference[1] - place.y > highest:
            total += (reference[0] - place.x) * (reference[1] - place.y - highest)
            highest = reference[1] - place.y
    return total
