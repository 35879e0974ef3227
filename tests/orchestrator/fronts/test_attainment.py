"""Seeds as uncertainty: surfaces against counting, and what hypervolume makes of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from orchestrator.fronts.attainment import LEVELS, attainment, surfaces
from orchestrator.fronts.schema import DEFAULT_OBJECTIVES, Objective
from orchestrator.fronts.summary import volume
from tests.orchestrator.fake_sweep import fake_rows
from tests.orchestrator.fronts.made import REFERENCE, fronts_of, series_rows

GRID = st.integers(0, 5).map(float)
TRIALS = st.integers(2, 3).flatmap(
    lambda n: st.integers(1, 10).flatmap(
        lambda trials: st.tuples(
            arrays(float, (trials, n), elements=GRID), arrays(int, trials, elements=st.integers(0, 3))
        )
    )
)
L0 = DEFAULT_OBJECTIVES[0]


def share_that_attains(point: np.ndarray, costs: np.ndarray, seeds: np.ndarray) -> float:
    return float(np.mean([(costs[seeds == seed] <= point).all(axis=1).any() for seed in np.unique(seeds)]))


@given(TRIALS)
def test_a_surface_bounds_what_so_many_seeds_attain(drawn: tuple[np.ndarray, np.ndarray]):
    costs, seeds = drawn
    points = np.array(np.meshgrid(*[np.arange(6.0)] * costs.shape[1])).reshape(costs.shape[1], -1).T
    found = attainment(costs, seeds)
    for level in LEVELS:
        for point in points:
            beyond = (found[level] <= point).all(axis=1).any()
            assert beyond == (share_that_attains(point, costs, seeds) >= level - 1e-12)


def test_with_one_seed_every_surface_is_its_frontier():
    (series,) = fronts_of(series_rows([(10.0, 0.5), (20.0, 0.2), (15.0, 0.6)])).series
    for points in surfaces(series, L0).values():
        assert points.tolist() == [[10.0, 0.5], [20.0, 0.2]]


def test_directions_are_turned_back():
    rows = series_rows([(10.0, 0.5), (20.0, 0.2)], explained_variance=0.7)
    (series,) = fronts_of(rows, objectives=[Objective("l0", "explained_variance")]).series
    assert surfaces(series, Objective("l0", "explained_variance"))[0.5].tolist() == [[10.0, 0.7]]


def test_there_are_no_surfaces_of_four_objectives_and_hypervolumes_still():
    objective = Objective("l0", "n_alive_elements", "mse", "ce_loss_increase")
    rows = [
        row.model_copy(update={"metrics": row.metrics | {"mse": 0.5}}) for row in fake_rows(layers=1, losses=("local",))
    ]
    fronts = fronts_of(rows, objectives=[objective], reference=REFERENCE | {"mse": 1.0})
    (series,) = fronts.series
    assert surfaces(series, objective) == {}
    found = fronts.volume(series, objective)
    assert found is not None
    assert found.median is None
    assert 0 < found.pooled < 1
    assert fronts.summary_table()["front"].to_pylist() == ["l0_alive_mse_ce"]


def test_hypervolume_is_the_share_of_the_box_up_to_the_reference_point():
    # In the unit square that log10(l0) / 2 and CE make up: the corners (0.5, 0.5) and (0, 1) of one seed.
    (series,) = fronts_of(series_rows([(10.0, 0.5), (1.0, 1.0)])).series
    found = volume(series, L0, REFERENCE)
    assert found is not None
    assert found.pooled == pytest.approx(0.25)
    assert found.median == pytest.approx(0.25)
    assert volume(series, L0, {"l0": 100.0}) is None


def test_hypervolume_of_seeds_has_a_mean_an_interval_and_a_median_between_its_extremes():
    series = fronts_of(fake_rows(layers=1, losses=("e2e",), seeds=5)).series[0]
    found = volume(series, L0, REFERENCE)
    each = [volume(one, L0, REFERENCE) for one in series.by_seed.values()]
    alone = [one.pooled for one in each if one is not None]
    assert found is not None
    assert found.over_seeds.mean == pytest.approx(np.mean(alone))
    assert found.over_seeds.low is not None
    assert found.over_seeds.high is not None
    assert found.over_seeds.low < found.over_seeds.mean < found.over_seeds.high
    assert found.pooled >= max(alone)
    assert found.median is not None
    assert min(alone) <= found.median <= found.pooled
