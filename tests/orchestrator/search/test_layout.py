"""The places of several trials are found together: no other choice of as many has more hypervolume."""

import itertools
import random

import numpy as np
import pytest

from orchestrator.fronts.pareto import hypervolume
from orchestrator.search.layout import Layout, Place

REFERENCE = (0.9, 0.9)


def some(dice: random.Random, n: int, *, start: int) -> list[Place]:
    """With ties, some beyond the reference."""
    return [
        Place(dice.choice([dice.random(), round(dice.random(), 1)]), round(dice.random(), 1), start + number)
        for number in range(n)
    ]


def volume(places: list[Place]) -> float:
    costs = np.array([place[:2] for place in places], dtype=float).reshape(-1, 2)
    return hypervolume(costs, reference=np.array(REFERENCE))


@pytest.mark.parametrize("seed", range(60))
def test_no_other_places_have_more_hypervolume(seed: int):
    dice = random.Random(seed)
    there, new = some(dice, dice.randint(0, 3), start=0), some(dice, dice.randint(0, 7), start=100)
    layout = Layout(there, new, REFERENCE)
    for n in range(5):
        chosen = layout.best(n)
        choices = itertools.chain.from_iterable(itertools.combinations(new, k) for k in range(min(n, len(new)) + 1))
        assert len(chosen) <= n
        assert {*chosen} <= {*new}
        assert volume([*there, *chosen]) == pytest.approx(max(volume([*there, *each]) for each in choices))


def test_gains_add_up_and_the_first_to_run_adds_most():
    dice = random.Random(1)
    there, new = some(dice, 2, start=0), some(dice, 12, start=100)
    layout = Layout(there, new, REFERENCE)
    whole = volume([*there, *new])
    added = (volume([*there, *layout.best(4)]) - volume(there)) / whole
    assert sum(layout.gain(n) for n in range(1, 5)) == pytest.approx(added)
    in_order = layout.in_order(layout.best(4))
    assert sum(gain for gain, _ in in_order) == pytest.approx(added)
    assert in_order[0][0] == max(gain for gain, _ in in_order)


def test_one_after_another_is_worse_than_together():
    curve = [Place(x, (1 - x) ** 3, x) for x in np.linspace(0.02, 0.98, 49).tolist()]
    there: list[Place] = []
    for _ in range(3):
        there += Layout(there, curve, (1.0, 1.0)).best(1)
    together = Layout([], curve, (1.0, 1.0)).best(3)

    def of(places: list[Place]) -> float:
        return hypervolume(np.array([place[:2] for place in places]), reference=np.array([1.0, 1.0]))

    assert of(together) > of(there) * 1.001


def test_without_a_place_within_the_reference_nothing_is_chosen():
    assert Layout([], [Place(2.0, 2.0, 1.0)], REFERENCE).best(3) == []
    assert Layout([], [], REFERENCE).gain(1) == 0.0
