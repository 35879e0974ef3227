"""Frontiers and hypervolume against brute force, with ties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from orchestrator.pareto import dominators, hypervolume, hypervolume_contributions, pareto_mask

# Few different values, so that ties and equal points are common.
GRID = st.integers(0, 6).map(float)
COSTS = st.integers(2, 3).flatmap(
    lambda n_objectives: arrays(float, st.tuples(st.integers(0, 12), st.just(n_objectives)), elements=GRID)
)
PAIRS = arrays(float, st.tuples(st.integers(0, 12), st.just(2)), elements=GRID)
WORST = np.array([5.0, 5.0])


def dominates(one: np.ndarray, other: np.ndarray) -> bool:
    return bool((one <= other).all() and (one < other).any())


def unit_squares(costs: np.ndarray) -> int:
    """Hypervolume of whole numbers up to WORST, by counting the unit squares that some point dominates."""
    corners = [(x, y) for x in range(5) for y in range(5)]
    return sum(any((point <= corner).all() for point in costs) for corner in corners)


@given(COSTS)
def test_the_frontier_is_what_no_other_trial_dominates(costs: np.ndarray):
    expected = [not any(dominates(other, one) for other in costs) for one in costs]
    assert pareto_mask(costs).tolist() == expected


@given(COSTS)
def test_a_dominator_is_on_the_frontier_and_exists_for_exactly_the_others(costs: np.ndarray):
    on_front = pareto_mask(costs)
    for trial, by in enumerate(dominators(costs)):
        assert (by is None) == on_front[trial]
        assert by is None or (on_front[by] and dominates(costs[by], costs[trial]))


@given(PAIRS)
def test_hypervolume_counts_the_squares_that_are_dominated(costs: np.ndarray):
    assert hypervolume(costs, reference=WORST) == unit_squares(costs)


@given(PAIRS)
def test_a_contribution_is_what_the_frontier_loses_without_the_trial(costs: np.ndarray):
    front = costs[pareto_mask(costs)]
    whole = unit_squares(front)
    expected = [whole - unit_squares(np.delete(front, trial, axis=0)) for trial in range(len(front))]
    contributions = hypervolume_contributions(costs, reference=WORST)
    assert contributions[pareto_mask(costs)].tolist() == expected
    assert not contributions[~pareto_mask(costs)].any()


def test_known_frontier_with_equal_trials():
    costs = np.array([[1.0, 3.0], [1.0, 3.0], [2.0, 2.0], [2.0, 3.0], [3.0, 1.0], [1.0, 4.0]])
    assert pareto_mask(costs).tolist() == [True, True, True, False, True, False]
    assert dominators(costs) == [None, None, None, 2, None, 0]


def test_of_several_dominators_the_one_with_the_lowest_last_cost_is_named():
    costs = np.array([[1.0, 2.0], [2.0, 1.0], [4.0, 4.0]])
    assert dominators(costs) == [None, None, 1]


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_an_error(broken: float):
    costs = np.array([[1.0, 2.0], [broken, 1.0]])
    with pytest.raises(ValueError, match="costs of trial 1"):
        pareto_mask(costs)
    with pytest.raises(ValueError, match="costs of trial 1"):
        hypervolume(costs, reference=WORST)
    with pytest.raises(ValueError, match="costs of trial 1"):
        hypervolume_contributions(costs, reference=WORST)
