"""`match`: brackets the target, closes in on it, and ends."""

import random

import pytest

from orchestrator.search.match import Match
from orchestrator.search.tried import Series, Tried, rounded
from tests.orchestrator.search.made import ONE, Made, a_made, grid, searched

CE = "ce_loss_increase"


def match(target: float, metric: str = CE, *, max_trials: int = 12, series: Series = ONE) -> Match:
    return Match({series: target}, metric, 0.05, max_trials, f"match {metric} {target:g}")


def n_more(seed: int, metric: str) -> int:
    """Trials after the first two, whose coefficients lie around the target's or, one time in five, both beside it."""
    dice, made = random.Random(seed), a_made(seed)
    wanted = made.centre * 10 ** dice.uniform(-0.7, 0.7)
    around = wanted / 10 ** dice.uniform(0.05, 0.8), wanted * 10 ** dice.uniform(0.05, 0.8)
    beside = wanted * 2, wanted * 10 ** dice.uniform(0.4, 0.9)
    start = [rounded(each) for each in (beside if dice.random() < 0.2 else around)]
    planner = match(made(wanted)[metric], metric)
    return len(searched(planner, grid(start, made), made)) - 2


@pytest.mark.parametrize("metric", [CE, "l0"])
def test_within_four_trials_after_the_first_two_in_95_of_100_noisy_series(metric: str):
    counts = [n_more(seed, metric) for seed in range(150)]
    assert sum(count <= 4 for count in counts) >= 0.95 * len(counts)


def test_a_power_law_is_met_by_the_first_trial():
    tried = grid([0.1, 10.0], lambda c: {CE: 0.2 * c**0.8})
    (proposal,) = match(0.2).ask(tried, 4)
    assert proposal.sparsity_coeff == pytest.approx(1.0, rel=0.01)
    assert proposal.why == f"{CE} 0.2: the nearest is 84.2% off"


def test_it_stays_within_the_bracket():
    made = Made(noise=0.05)
    for target in (0.03, 0.1, 0.4, 1.0):
        tried = grid([0.02, 30.0], made)
        for _ in range(6):
            asked = match(target).ask(tried, 1)
            if not asked:
                break
            below = [each.sparsity_coeff for each in tried if each.metrics and each.metrics[CE] < target]
            above = [each.sparsity_coeff for each in tried if each.metrics and each.metrics[CE] >= target]
            assert max(below) < asked[0].sparsity_coeff < min(each for each in above if each > max(below))
            tried += grid([asked[0].sparsity_coeff], made)


def test_it_goes_beyond_what_was_tried_to_find_the_target():
    made = Made()
    planner = match(made(30.0)[CE])
    tried = searched(planner, grid([0.1, 0.3], made), made)
    (found,) = planner.found(tried)
    assert found.reached
    assert found.numbers["sparsity_coeff"] == pytest.approx(30.0, rel=0.3)


def test_a_target_that_is_met_already_asks_for_nothing_and_says_so():
    tried = grid([1.0], lambda _: {CE: 0.1})
    assert match(0.102).ask(tried, 4) == []
    (found,) = match(0.102).found(tried)
    assert found.reached
    assert found.text == f"L3 e2e: {CE} 0.1 at coefficient 1, -2.0% after 0 more"


def test_it_gives_up_after_so_many_trials_and_says_how_near_it_came():
    planner = match(50.0, max_trials=3)
    tried = searched(planner, grid([0.1, 1.0], Made()), Made())
    assert len(tried) == 5
    (found,) = planner.found(tried)
    assert not found.reached
    assert found.text.endswith("not reached in 3 more")


def test_trials_of_another_target_do_not_count():
    made = Made()
    first = searched(match(50.0, max_trials=2), grid([0.1, 1.0], made), made)
    assert match(40.0, max_trials=2).ask(first, 1)


def test_where_nothing_fires_is_beyond_any_target():
    made = Made(dead_from=2.0)
    planner = match(made(1.5)["l0"], "l0")
    tried = searched(planner, grid([0.5, 8.0], made), made)
    assert planner.found(tried)[0].reached
    assert all(each.sparsity_coeff <= 8.0 for each in tried)


def test_a_negative_ce_loss_increase_lies_below_the_target():
    planner = match(0.1)

    def metrics(coefficient: float) -> dict[str, float]:
        return {CE: 0.15 * coefficient - 0.05}

    tried = searched(planner, grid([0.1, 3.0], metrics), metrics)
    assert planner.found(tried)[0].reached


def test_the_series_farthest_off_comes_first():
    other = Series(5, "local")
    planner = Match({ONE: 0.1, other: 0.1}, CE, 0.05, 4, "match")
    tried = [*grid([1.0, 2.0], lambda c: {CE: 0.07 * c}), *grid([1.0, 2.0], lambda c: {CE: 1.0 * c}, other)]
    assert [each.series for each in planner.ask(tried, 2)] == [other, ONE]
    assert [each.series for each in planner.ask(tried, 1)] == [other]


def test_a_failed_coefficient_is_not_asked_for_again():
    tried = grid([0.1, 10.0], lambda c: {CE: 0.2 * c**0.8})
    (first,) = match(0.2).ask(tried, 1)
    (second,) = match(0.2).ask([*tried, Tried(ONE, first.sparsity_coeff, 0, failed=True)], 1)
    assert second.sparsity_coeff != first.sparsity_coeff
