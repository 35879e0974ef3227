"""Values along a frontier of two metrics: between two neighbouring trials a straight line, beyond the ends nothing.

A frontier of two metrics is monotone, so it can be read both ways: CE loss increase at an L0, and L0 at a CE loss
increase. Counts (log columns) are taken by their logarithm, as in the plots; `logs=False` takes all as they are.
"""

import numpy as np

from orchestrator.fronts.costs import is_log
from orchestrator.fronts.schema import Objective
from orchestrator.fronts.series import Series


class Curve:
    """A frontier as a line: `curve.at("l0", 50)` is the other metric where L0 is 50."""

    def __init__(self, series: Series, plane: Objective, *, logs: bool = True) -> None:
        """Trials that a logarithm cannot show are left out."""
        self._plane, self._logs = plane, {name: logs and is_log(name) for name in plane}
        front = series.front(plane)
        points = np.unique(np.column_stack([front[name].astype(np.float64) for name in plane]), axis=0)
        shown = np.ones(len(points), dtype=bool)
        for axis, name in enumerate(plane):
            shown &= (points[:, axis] > 0) | (not is_log(name))
        self._points = {name: points[shown, axis] for axis, name in enumerate(plane)}

    def range(self, metric: str) -> tuple[float, float] | None:
        """From its lowest to its highest value; None for a frontier without points."""
        values = self._points[metric]
        return (float(values.min()), float(values.max())) if len(values) else None

    def at(self, metric: str, where: float) -> float | None:
        """The other metric where this one is `where`; None outside of the frontier."""
        found = self.along(metric, np.array([where]))
        return None if np.isnan(found[0]) else float(found[0])

    def along(self, metric: str, where: np.ndarray) -> np.ndarray:
        """The same for many; NaN outside."""
        if not len(self._points[metric]):
            return np.full(len(where), np.nan)
        other = other_of(self._plane, metric)
        xs, ys = self._scaled(metric, self._points[metric]), self._scaled(other, self._points[other])
        order = np.argsort(xs)
        found = np.interp(self._scaled(metric, where), xs[order], ys[order], left=np.nan, right=np.nan)
        return np.exp(found) if self._logs[other] else found

    def _scaled(self, metric: str, values: np.ndarray) -> np.ndarray:
        return np.log(values) if self._logs[metric] else values


def other_of(plane: Objective, metric: str) -> str:
    """The plane's other metric."""
    return plane.y if metric == plane.x else plane.x
