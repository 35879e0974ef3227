"""`fill`: gaps close, ends that are not there are given up, and nothing is asked for twice."""

from itertools import pairwise
from math import log10

import pytest

from orchestrator.search.fill import Fill, stretches
from orchestrator.search.tried import Series, Tried
from orchestrator.search.volume import FillVolume
from tests.orchestrator.search.made import ONE, Made, a_made, grid, searched

RANGE = (5.0, 500.0)


def by_gap(max_gap: float = 0.2) -> Fill:
    return Fill({ONE: RANGE}, max_gap)


def test_the_middle_of_the_widest_gap_comes_first():
    tried = grid([0.1, 1.0, 2.0, 10.0], lambda c: {"l0": 50.0 / c})
    (first, *_) = Fill({ONE: (5.0, 500.0)}, 0.6).ask(tried, 1)
    assert first.sparsity_coeff == pytest.approx(10**-0.5, rel=0.2)
    assert first.why == "gap from L0 50 to 500"


def test_gaps_reach_to_the_ends_of_the_range():
    gaps = [(gap.low, gap.high, gap.end) for gap in stretches([1.0, 2.0, 3.5], (10**0.5, 1000.0))]
    assert gaps == [(0.5, 1.0, -1), (1.0, 2.0, 0), (2.0, pytest.approx(3.0), 0)]


def test_what_is_proposed_counts_for_what_is_proposed_after_it():
    tried = grid([0.1, 10.0], lambda c: {"l0": 50.0 / c})
    proposals = by_gap().ask(tried, 30)
    places = sorted(log10(50.0 / each) for each in [0.1, 10.0, *(p.sparsity_coeff for p in proposals)])
    assert max(high - low for low, high in pairwise(places)) < 0.2
    assert len(proposals) <= 13


@pytest.mark.parametrize("seed", range(25))
def test_it_ends_with_every_gap_closed_that_can_be(seed: int):
    made = a_made(seed)
    tried = searched(by_gap(), grid([made.centre / 2, made.centre * 2], made), made)
    (found,) = by_gap().found(tried)
    assert found.reached, found.text
    assert len(tried) <= 2 * (2.0 / 0.2) + 4


def test_it_gives_up_an_end_that_is_not_there():
    made = Made(most_l0=80.0)
    tried = searched(by_gap(), grid([0.5, 2.0], made), made)
    (found,) = by_gap().found(tried)
    assert not found.reached
    assert "nothing was found there" in found.text
    assert by_gap().widest(tried, ONE).end == 1
    assert len(tried) < 20


def test_it_does_not_search_where_nothing_fires():
    made = Made(dead_from=3.0)
    tried = searched(by_gap(), grid([0.5, 10.0], made), made)
    assert all(each.sparsity_coeff <= 10.0 for each in tried)
    assert sum(each.sparsity_coeff >= 3.0 for each in tried) <= 4
    assert len(tried) < 20


def test_failed_trials_are_not_asked_for_again():
    made = Made()
    tried = grid([0.1, 1.0], made)
    first = by_gap().ask(tried, 1)[0].sparsity_coeff
    again = by_gap().ask([*tried, Tried(ONE, first, 0, failed=True)], 8)
    assert first not in {each.sparsity_coeff for each in again}
    assert again


def test_a_series_without_a_result_is_begun_where_its_neighbour_is():
    other = Series(4, "e2e")
    planner = Fill({ONE: RANGE, other: RANGE}, 0.3)
    proposals = planner.ask(grid([0.1, 1.0, 10.0], lambda c: {"l0": 50.0 / c}), 1)
    assert proposals[0].series == other
    assert proposals[0].sparsity_coeff == pytest.approx(1.0, rel=0.2)


def test_without_any_result_nothing_is_asked_for():
    assert by_gap().ask([Tried(ONE, 1.0, 0)], 4) == []


# By hypervolume


def by_volume(min_gain: float = 0.01) -> FillVolume:
    return FillVolume({ONE: RANGE}, None, min_gain)


@pytest.mark.parametrize("seed", range(10))
def test_hypervolume_grows_until_little_is_to_be_gained(seed: int):
    made = a_made(seed)
    tried = searched(by_volume(), grid([made.centre / 4, made.centre * 4], made), made)
    (found,) = by_volume().found(tried)
    assert found.reached, found.text
    assert 2 < len(tried) < 40


def test_a_lower_gain_asks_for_more():
    made = Made()
    start = grid([0.1, 10.0], made)
    few, many = (len(searched(by_volume(gain), start, made)) for gain in (0.05, 0.005))
    assert few < many


def test_nothing_outside_the_range_is_looked_for():
    made = Made()
    tried = searched(by_volume(0.003), grid([0.3, 3.0], made), made)
    wanted = [made(each.sparsity_coeff)["l0"] for each in tried if each.round]
    assert wanted
    assert min(wanted) > RANGE[0] / 1.5  # where they land is not quite where they were expected
    assert max(wanted) < RANGE[1] * 1.5
