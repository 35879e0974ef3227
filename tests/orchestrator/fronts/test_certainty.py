"""Intervals and tests: what they claim is so, and with few seeds they say that they cannot tell."""

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from orchestrator.fronts.certainty import Verdict, difference, estimate

VALUES = st.lists(st.floats(-10, 10), min_size=3, max_size=8)


def by_seed(values: list[float], first: int = 0) -> dict[int, float]:
    return dict(enumerate(values, start=first))


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_seeds_have_no_interval_and_no_verdict(n: int):
    values = [0.5, 0.4][:n]
    assert (estimate(np.array(values)).low, estimate(np.array(values)).high) == (None, None)
    for first in (0, 10):
        found = difference(by_seed(values), by_seed([9.0] * n, first))
        assert found is not None
        assert found.verdict is Verdict.CANNOT_TELL
        assert (found.low, found.p_value, found.n_seeds) == (None, None, n)
        assert found.mean == pytest.approx(np.mean(values) - 9)


@pytest.mark.parametrize(("n", "verdict"), [(3, "likely_better"), (5, "likely_better"), (6, "better"), (8, "better")])
def test_with_few_pairs_a_clear_difference_is_likely_and_from_six_on_it_is_shown(n: int, verdict: str):
    ours = [1.0 + 0.01 * seed for seed in range(n)]
    found = difference(by_seed(ours), by_seed([2.0] * n))
    assert found is not None
    assert found.verdict == verdict
    assert found.p_value == found.smallest_p == 2 / 2**n
    turned = difference(by_seed([2.0] * n), by_seed(ours))
    assert turned is not None
    assert turned.verdict == verdict.replace("better", "worse")


def test_seeds_that_are_not_shared_are_compared_unpaired():
    ours, theirs = [1.0, 1.1, 0.9, 1.05], [2.0, 2.2, 1.9, 2.1]
    found = difference(by_seed(ours), by_seed(theirs, 100))
    assert found is not None
    assert not found.paired
    assert found.p_value == pytest.approx(2 / comb(8, 4))
    assert found.verdict is Verdict.BETTER


def test_seeds_that_only_one_has_are_left_out_of_pairs():
    found = difference({0: 1.0, 1: 1.0, 2: 1.0, 3: 50.0}, {0: 2.0, 1: 2.1, 2: 1.9})
    assert found is not None
    assert (found.n_seeds, found.paired) == (3, True)
    assert found.mean == pytest.approx(-1)


def test_no_values_are_no_difference():
    assert difference({}, by_seed([1.0])) is None
    assert difference(by_seed([1.0]), {}) is None


@given(VALUES)
def test_an_interval_is_around_the_mean_and_moves_with_the_values(values: list[float]):
    found, moved = estimate(np.array(values)), estimate(np.array(values) + 100)
    assert found.low is not None
    assert found.high is not None
    assert moved.low is not None
    assert found.low <= found.mean + 1e-9
    assert found.high >= found.mean - 1e-9
    assert moved.low == pytest.approx(found.low + 100, abs=1e-6)


@given(VALUES, VALUES)
def test_the_same_values_give_the_same_answer_and_turned_ones_the_opposite(ours: list[float], theirs: list[float]):
    found, again = (difference(by_seed(ours), by_seed(theirs, 50)) for _ in range(2))
    turned = difference(by_seed(theirs, 50), by_seed(ours))
    assert found == again
    assert found is not None
    assert turned is not None
    assert turned.mean == pytest.approx(-found.mean, abs=1e-9)


def test_equal_values_cannot_be_told_apart():
    found = difference(by_seed([1.0] * 6), by_seed([1.0] * 6))
    assert found is not None
    assert found.verdict is Verdict.CANNOT_TELL
    assert found.p_value == 1


def test_intervals_cover_about_as_often_as_they_claim_and_agree_with_students_t():
    """In 400 draws a coverage of 95 % is between 91 % and 98 % but once in ten thousand times."""
    random = np.random.default_rng(0)
    for n in (3, 5, 10):
        hits = 0
        for _ in range(400):
            found = estimate(random.normal(size=n))
            assert found.low is not None
            assert found.high is not None
            hits += found.low <= 0 <= found.high
        assert 0.91 < hits / 400 < 0.98, n
    ours, theirs = random.normal(size=12), random.normal(0.8, size=12)
    found = difference(by_seed(ours.tolist()), by_seed(theirs.tolist()))
    assert found is not None
    assert found.p_value == pytest.approx(ttest_rel(ours, theirs).pvalue, abs=0.02)
