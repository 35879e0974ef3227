"""Made-up series: metrics that rise and fall with the coefficient as those of SAEs do, with noise or without."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.search.tried import Planner, Point, Series, Tried

ONE = Series(3, "e2e")
Metrics = dict[str, float]


@dataclass(frozen=True)
class Made:
    """L0 falls and CE loss increase rises; both bend. At one coefficient they are always the same."""

    centre: float = 1.0
    steepness: float = 1.2
    most_l0: float = 2000.0
    dead_from: float = float("inf")
    """Coefficient from which nothing fires."""
    noise: float = 0.0

    def __call__(self, coefficient: float) -> Metrics:
        at = (coefficient / self.centre) ** self.steepness
        l0 = 0.0 if coefficient >= self.dead_from else self.most_l0 / (1 + at) ** 1.3
        ce = 0.01 + 0.5 * at / (1 + 0.2 * at)
        return {"l0": l0 * self._factor(coefficient, "l0"), "ce_loss_increase": ce * self._factor(coefficient, "ce")}

    def _factor(self, coefficient: float, what: str) -> float:
        return 1 + random.Random(f"{coefficient} {self.centre} {what}").gauss(0, self.noise)


def a_made(seed: int, *, noise: float = 0.015) -> Made:
    dice = random.Random(seed)
    return Made(10 ** dice.uniform(-1, 1), dice.uniform(0.5, 1.8), dice.choice([1000.0, 3000.0]), noise=noise)


def grid(coefficients: Sequence[float], made: Callable[[float], Metrics], series: Series = ONE) -> list[Tried]:
    return [Tried(series, each, 0, made(each)) for each in coefficients]


def searched(
    planner: Planner, tried: Sequence[Tried], made: Callable[[float], Metrics], *, n: int = 4, rounds: int = 60
) -> list[Tried]:
    """All that was tried in the end. Checks on the way that nothing is proposed twice and no order matters."""
    found = list(tried)
    for number in range(1, rounds + 1):
        proposals = planner.ask(found, n)
        shuffled = random.Random(number).sample(found, len(found))
        assert [(p.series, p.sparsity_coeff, p.why) for p in planner.ask(shuffled, n)] == [
            (p.series, p.sparsity_coeff, p.why) for p in proposals
        ]
        points: list[Point] = [(each.series, each.sparsity_coeff) for each in proposals]
        assert len(proposals) <= n
        assert len({*points}) == len(points)
        assert not {*points} & {each.point for each in found}
        if not proposals:
            return found
        found += [
            Tried(series, coefficient, 0, made(coefficient), search=planner.label, round=number)
            for series, coefficient in points
        ]
    raise AssertionError(f"it still asks after {rounds} rounds")
