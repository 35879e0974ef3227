"""Frontiers and hypervolume against brute force, with ties."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from orchestrator.fronts.pareto import NOBODY, dominators, hypervolume, hypervolume_contributions, pareto_mask

# Few different values, so that ties and equal points are common.
GRID = st.integers(0, 6).map(float)
COSTS = st.integers(2, 4).flatmap(
    lambda n_objectives: arrays(float, st.tuples(st.integers(0, 12), st.just(n_objectives)), elements=GRID)
)
FEW = st.integers(2, 4).flatmap(
    lambda n_objectives: arrays(float, st.tuples(st.integers(0, 9), st.just(n_objectives)), elements=GRID)
)
WORST = 5.0


def dominates(one: np.ndarray, other: np.ndarray) -> bool:
    return bool((one <= other).all() and (one < other).any())


def unit_cubes(costs: np.ndarray) -> int:
    """Hypervolume of whole numbers up to WORST, by counting the unit cubes that some point dominates."""
    corners = np.array(list(product(range(int(WORST)), repeat=costs.shape[1])))
    return int((costs[None] <= corners[:, None]).all(axis=2).any(axis=1).sum())


def worst_of(costs: np.ndarray) -> np.ndarray:
    return np.full(costs.shape[1], WORST)


@given(COSTS)
def test_the_frontier_is_what_no_other_trial_dominates(costs: np.ndarray):
    expected = [not any(dominates(other, one) for other in costs) for one in costs]
    assert pareto_mask(costs).tolist() == expected


@given(COSTS)
def test_a_dominator_is_on_the_frontier_and_exists_for_exactly_the_others(costs: np.ndarray):
    on_front = pareto_mask(costs)
    for trial, by in enumerate(dominators(costs, on_front)):
        assert (by == NOBODY) == on_front[trial]
        assert by == NOBODY or (on_front[by] and dominates(costs[by], costs[trial]))


@given(COSTS)
def test_of_all_dominators_on_the_frontier_the_first_by_last_cost_is_named(costs: np.ndarray):
    on_front = pareto_mask(costs)
    for trial, by in enumerate(dominators(costs, on_front)):
        able = [other for other in np.flatnonzero(on_front) if dominates(costs[other], costs[trial])]
        assert by == min(able, key=lambda other: (*costs[other][::-1], other), default=NOBODY)


@given(FEW)
def test_hypervolume_counts_the_cubes_that_are_dominated(costs: np.ndarray):
    assert hypervolume(costs, reference=worst_of(costs)) == pytest.approx(unit_cubes(costs))


@given(FEW)
def test_a_contribution_is_what_the_frontier_loses_without_the_trial(costs: np.ndarray):
    front = costs[pareto_mask(costs)]
    whole = unit_cubes(front)
    expected = [whole - unit_cubes(np.delete(front, trial, axis=0)) for trial in range(len(front))]
    contributions = hypervolume_contributions(costs, reference=worst_of(costs))
    assert contributions[pareto_mask(costs)].tolist() == pytest.approx(expected)
    assert not contributions[~pareto_mask(costs)].any()


def test_known_frontier_with_equal_trials():
    costs = np.array([[1.0, 3.0], [1.0, 3.0], [2.0, 2.0], [2.0, 3.0], [3.0, 1.0], [1.0, 4.0]])
    assert pareto_mask(costs).tolist() == [True, True, True, False, True, False]
    assert dominators(costs, pareto_mask(costs)).tolist() == [NOBODY, NOBODY, NOBODY, 2, NOBODY, 0]


def test_of_several_dominators_the_one_with_the_lowest_last_cost_is_named():
    costs = np.array([[1.0, 2.0], [2.0, 1.0], [4.0, 4.0]])
    assert dominators(costs, pareto_mask(costs)).tolist() == [NOBODY, NOBODY, 1]


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_an_error(broken: float):
    costs = np.array([[1.0, 2.0], [broken, 1.0]])
    with pytest.raises(ValueError, match="costs of trial 1"):
        pareto_mask(costs)
    with pytest.raises(ValueError, match="costs of trial 1"):
        hypervolume(costs, reference=worst_of(costs))
    with pytest.raises(ValueError, match="costs of trial 1"):
        hypervolume_contributions(costs, reference=worst_of(costs))
