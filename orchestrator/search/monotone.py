"""A curve through a few noisy points that is known to rise or to fall: of a metric over the sparsity coefficient.

Over log10 of the coefficient, in log10 of the metric. Isotonic regression (SciPy's) takes out what noise has put in the
wrong order; between points the curve is a monotone cubic (SciPy's PCHIP), beyond them it goes on straight.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression

FLAT = 0.05
"""Decades per decade: an end flatter than this tells nothing about what lies beyond."""
USUAL_SLOPE = 0.7
"""Decades of a metric per decade of the coefficient where a curve has no slope of its own."""
HALVINGS = 40
FARTHEST = 0.7
"""Decades of the coefficient beyond the last known point that are ventured at a time."""


@dataclass(frozen=True)
class Curve:
    """Knots of a monotone function, `x` strictly ascending: log10 of the coefficient."""

    x: np.ndarray
    y: np.ndarray
    rises: bool

    @classmethod
    def through(cls, points: Mapping[float, float], *, rises: bool) -> "Curve | None":
        """`points`: log10 of a metric by coefficient. None without any."""
        if not points:
            return None
        coefficients = sorted(points)
        y = np.array([points[each] for each in coefficients], dtype=float)
        return cls(np.log10(coefficients), isotonic_regression(y, increasing=rises).x, rises)

    def shifted(self, dy: float) -> "Curve":
        """The same shape, higher by `dy`."""
        return Curve(self.x, self.y + dy, self.rises)

    def at(self, coefficient: float) -> float:
        """The metric's log10 there."""
        x = float(np.log10(coefficient))
        if x < self.x[0]:
            return float(self.y[0] + self._slope(0) * (x - self.x[0]))
        if x > self.x[-1]:
            return float(self.y[-1] + self._slope(-1) * (x - self.x[-1]))
        return float(self.y[0]) if len(self.x) < 2 else float(self._between(x))

    def where(self, y: float) -> float:
        """The coefficient at which the curve is `y`; not farther than `FARTHEST` beyond what is known."""
        low, high = (self.y[0], self.y[-1]) if self.rises else (self.y[-1], self.y[0])
        if low <= y <= high and len(self.x) > 1:
            return float(10 ** self._inside(y))
        end = 0 if (y < low) == self.rises else -1
        beyond = (y - self.y[end]) / self._slope(end)
        return float(10 ** (self.x[end] + np.clip(beyond, -FARTHEST, FARTHEST)))

    def _inside(self, y: float) -> float:
        """The middle of all x at which the curve is `y`."""
        ys, xs = (self.y, self.x) if self.rises else (self.y[::-1], self.x[::-1])
        first, last = np.searchsorted(ys, y, side="left"), np.searchsorted(ys, y, side="right")
        if first < last:  # a knot, or a flat stretch
            return float((xs[first] + xs[last - 1]) / 2)
        low, high = sorted((float(xs[first - 1]), float(xs[first])))
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            if (float(self._between(middle)) < y) == self.rises:
                low = middle
            else:
                high = middle
        return (low + high) / 2

    @cached_property
    def _between(self) -> PchipInterpolator:
        return PchipInterpolator(self.x, self.y)

    def _slope(self, end: int) -> float:
        """At the first (0) or the last (-1) knot."""
        usual = USUAL_SLOPE if self.rises else -USUAL_SLOPE
        if len(self.x) < 2:
            return usual
        i, j = (0, 1) if end == 0 else (-2, -1)
        slope = float((self.y[j] - self.y[i]) / (self.x[j] - self.x[i]))
        return slope if abs(slope) > FLAT else usual
