"""Curves through a few noisy points, and those that a series borrows."""

from math import log10

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.search.borrow import curves
from orchestrator.search.monotone import FARTHEST, Curve
from orchestrator.search.tried import Series, Tried

POINTS = st.dictionaries(
    st.floats(1e-3, 1e3).map(lambda x: float(f"{x:.3g}")), st.floats(-3, 3), min_size=1, max_size=8
)


def test_a_power_law_is_met_exactly_between_its_points_and_beyond():
    curve = Curve.through({0.1: 2.0, 1.0: 1.5, 10.0: 1.0}, rises=False)
    assert curve is not None
    assert curve.at(100.0) == pytest.approx(0.5)
    assert curve.where(1.25) == pytest.approx(10**0.5)
    assert curve.where(0.9) == pytest.approx(10**1.2)


def test_there_is_no_curve_through_nothing():
    assert Curve.through({}, rises=True) is None


@given(points=POINTS, rises=st.booleans())
def test_a_curve_is_monotone_whatever_the_points(points: dict[float, float], rises: bool):
    curve = Curve.through(points, rises=rises)
    assert curve is not None
    values = np.array([curve.at(each) for each in np.geomspace(1e-4, 1e4, 50)])
    steps = np.diff(values) if rises else -np.diff(values)
    assert steps.min() >= -1e-9


@given(points=POINTS, rises=st.booleans(), y=st.floats(-4, 4))
def test_a_coefficient_is_looked_for_on_the_curve_or_a_step_beyond_its_end(
    points: dict[float, float], rises: bool, y: float
):
    curve = Curve.through(points, rises=rises)
    assert curve is not None
    found = curve.where(y)
    assert min(points) / 10**FARTHEST * 0.999 <= found <= max(points) * 10**FARTHEST * 1.001
    if curve.y.min() <= y <= curve.y.max() and min(points) < found < max(points):
        assert curve.at(found) == pytest.approx(y, abs=1e-6)


def test_a_series_with_one_point_borrows_the_shape_of_its_loss_at_the_next_layer():
    near, far, mine = Series(2, "e2e"), Series(2, "local"), Series(3, "e2e")
    tried = [
        *(Tried(near, c, 0, {"l0": 100 / c}) for c in (0.1, 1.0, 10.0)),
        *(Tried(far, c, 0, {"l0": 100 / c**2}) for c in (0.1, 1.0, 10.0)),
        Tried(mine, 1.0, 0, {"l0": 50.0}),
    ]
    found = curves(tried, [near, far, mine], "l0", rises=False)
    assert found[mine].at(10.0) == pytest.approx(log10(5.0))


def test_seeds_are_averaged_and_failed_trials_left_out():
    series = Series(0, "local")
    tried = [
        Tried(series, 1.0, 0, {"l0": 90.0}),
        Tried(series, 1.0, 1, {"l0": 110.0}),
        Tried(series, 1.0, 2, failed=True),
        Tried(series, 2.0, 0, failed=True),
    ]
    found = curves(tried, [series], "l0", rises=False)
    assert found[series].at(1.0) == pytest.approx(2.0)
