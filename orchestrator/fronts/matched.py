"""Losses compared where one metric is equal: at matched CE increase, matched L0, matched alive elements.

For each place (model, hookpoint, dictionary size), each pair of metrics and each of the two as the matched one: of each
loss the real trial that is nearest, and the other metric interpolated along the frontier of each seed, against `local`.
This is the form of the paper's Tables 1 to 3, with the hand-picked runs replaced by a rule.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.display.plain import plain
from orchestrator.fronts.along import Curve, other_of
from orchestrator.fronts.certainty import Difference, Verdict, difference, estimate
from orchestrator.fronts.costs import is_log, sign
from orchestrator.fronts.schema import EXTERNAL, Objective, objective_columns
from orchestrator.fronts.sentences import brief, sentence
from orchestrator.fronts.series import BASELINE, Place, Series

Targets = Mapping[str, Sequence[float]]
"""By metric the values at which to compare."""


@dataclass(frozen=True)
class Nearest:
    """A real trial close to the target: of all that no trial of their own seed dominates."""

    trial_id: str
    run_name: str
    sparsity_coeff: float | None
    seed: int | None
    """Both None of an SAE that others trained."""
    at: float
    """Its value of the matched metric."""
    offset: float
    """(at - target) / target; of a target of 0, `at` itself."""
    value: float
    """Its value of the metric that is read."""
    l0: float
    ce_loss_increase: float
    n_alive_elements: int


@dataclass(frozen=True)
class Match:
    """One loss at one target."""

    place: Mapping[str, str | int]
    loss: str
    matched: str
    """The metric that is equal."""
    target: float
    asked: bool
    """In the sweep file or on the command line; else the middle of what all losses cover."""
    reads: str
    """The metric that is compared."""
    nearest: Nearest
    nearest_ratio: float | None
    """Of `nearest.value` to local's."""
    value: float | None
    """`reads` at the target: interpolated along each seed's frontier, mean over seeds (geometric of counts)."""
    low: float | None
    high: float | None
    n_seeds: int
    """Seeds whose frontier covers the target."""
    ratio: float | None
    """Of `value` to local's."""
    against: Difference | None
    """This loss less local, of logarithms where `reads` is a count; of metrics that should be high, local less this."""

    @property
    def is_baseline(self) -> bool:
        return self.loss == BASELINE

    @property
    def name(self) -> str:
        """Of the loss; of an SAE that others trained with its own."""
        return f"{self.loss}: {plain(self.nearest.run_name)}" if self.loss == EXTERNAL else self.loss

    @property
    def verdict(self) -> Verdict | None:
        return self.against.verdict if self.against else None

    @property
    def statement(self) -> str:
        """What can be said, in a sentence; empty for local itself and without it."""
        if self.against is None or self.value is None:
            return ""
        return sentence(self.against, loss=self.loss, matched=self.matched, target=self.target, reads=self.reads,
                        value=self.value, ratio=self.ratio)  # fmt: skip

    @property
    def brief(self) -> str:
        """The same where it is said elsewhere that there are too few seeds."""
        if self.against is None or self.value is None or self.against.low is not None:
            return self.statement
        return brief(self.against, loss=self.loss, matched=self.matched, target=self.target, reads=self.reads,
                     value=self.value, ratio=self.ratio)  # fmt: skip


def matches(place: Place, pairs: Sequence[Objective], targets: Targets | None = None) -> list[Match]:
    """Of every loss at a place: with each metric of the pairs matched, last ones first, what is paired with it."""
    usable = {loss: series for loss, series in place.series.items() if series.has([*{*sum(pairs, ())}])}
    found: list[Match] = []
    for matched in dict.fromkeys([*(pair.y for pair in pairs), *(pair.x for pair in pairs)]):
        planes = [pair for pair in pairs if matched in pair]
        for target, asked in _targets(usable, planes[0], matched, targets or {}):
            for plane in planes:
                found += _at(place, usable, plane, matched, target, asked)
    return found


def middle(ranges: Sequence[tuple[float, float]], *, log: bool) -> float | None:
    """A round value in the middle of what all ranges share, or between them where they share nothing."""
    if not ranges:
        return None
    low, high = max(low for low, _ in ranges), min(high for _, high in ranges)
    middle = math.sqrt(low * high) if low > 0 and high > 0 else (low + high) / 2
    digits = 2 if log else 3
    rounded = float(f"{middle:.{digits}g}")
    return rounded if min(low, high) <= rounded <= max(low, high) else middle


def _targets(
    series: Mapping[str, Series], plane: Objective, matched: str, targets: Targets
) -> Iterator[tuple[float, bool]]:
    if matched in targets:
        yield from ((value, True) for value in targets[matched])
        return
    ranges = [found for one in series.values() if (found := Curve(one, plane).range(matched)) is not None]
    if (value := middle(ranges, log=is_log(matched))) is not None:
        yield value, False


def _at(
    place: Place, series: Mapping[str, Series], plane: Objective, matched: str, target: float, asked: bool
) -> Iterator[Match]:
    reads = other_of(plane, matched)
    values = {loss: by_seed(one, plane, matched, target) for loss, one in series.items()}
    nearest = {
        loss: nearest_of([seed.front(plane) for seed in one.by_seed.values()], plane, matched, target)
        for loss, one in series.items()
    }
    baseline = nearest.get(BASELINE)
    local_value = mean_of(values.get(BASELINE, {}), reads)[0]
    for loss in series:
        value, low, high = mean_of(values[loss], reads)
        yield Match(
            place=place.keys,
            loss=loss,
            matched=matched,
            target=target,
            asked=asked,
            reads=reads,
            nearest=nearest[loss],
            nearest_ratio=ratio_of(nearest[loss].value, baseline.value if baseline else None),
            value=value,
            low=low,
            high=high,
            n_seeds=len(values[loss]),
            ratio=ratio_of(value, local_value),
            against=None if loss == BASELINE else compared(values[loss], values.get(BASELINE, {}), reads),
        )


def compared(ours: Mapping[int, float], theirs: Mapping[int, float], reads: str) -> Difference | None:
    """Values of a metric by seed as costs, of counts their logarithms."""
    turn, log = sign(objective_columns()[reads]), is_log(reads)
    costs = [{seed: math.log(v) if log else turn * v for seed, v in values.items()} for values in (ours, theirs)]
    return difference(costs[0], costs[1])


def by_seed(series: Series, plane: Objective, matched: str, target: float) -> dict[int, float]:
    """The plane's other metric at the target, interpolated along the frontier of each seed that covers it."""
    found = {seed: Curve(one, plane).at(matched, target) for seed, one in series.by_seed.items()}
    return {seed: value for seed, value in found.items() if value is not None}


def mean_of(values: Mapping[int, float], reads: str) -> tuple[float | None, float | None, float | None]:
    """Mean over seeds and its interval, of counts by their logarithm."""
    if not values:
        return None, None, None
    array = np.array(list(values.values()))
    found = estimate(np.log(array) if is_log(reads) else array)
    ends = (found.mean, found.low, found.high)
    low_mid_high = tuple(None if end is None else math.exp(end) if is_log(reads) else end for end in ends)
    return low_mid_high[0], low_mid_high[1], low_mid_high[2]


def nearest_of(fronts: Sequence[Series], plane: Objective, matched: str, target: float) -> Nearest:
    """By ratio of counts, else by difference; of equally near ones the better in the other metric, then the first."""
    reads = other_of(plane, matched)
    turn = sign(objective_columns()[reads])
    candidates = [(front, place) for front in fronts for place in range(len(front))]

    def distance(candidate: tuple[Series, int]) -> tuple[float, float]:
        front, place = candidate
        at = float(front[matched][place])
        ratio = is_log(matched) and at > 0 and target > 0
        return abs(math.log(at / target)) if ratio else abs(at - target), turn * float(front[reads][place])

    front, place = min(candidates, key=distance)
    at = float(front[matched][place])
    return Nearest(
        trial_id=str(front["trial_id"][place]),
        run_name=str(front["run_name"][place]),
        sparsity_coeff=front.table["sparsity_coeff"][place].as_py(),
        seed=front.table["seed"][place].as_py(),
        at=at,
        offset=(at - target) / abs(target) if target else at,
        value=float(front[reads][place]),
        l0=float(front["l0"][place]),
        ce_loss_increase=float(front["ce_loss_increase"][place]),
        n_alive_elements=int(front["n_alive_elements"][place]),
    )


def ratio_of(ours: float | None, theirs: float | None) -> float | None:
    """None where there is none."""
    return ours / theirs if ours is not None and theirs else None
