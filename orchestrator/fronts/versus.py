"""Two sweeps against each other: hypervolumes, and metrics where another one is equal, loss by loss.

Refuses what would compare apples with pears: another model, other held-out rows, another reference point.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.fronts.along import Curve, other_of
from orchestrator.fronts.certainty import Difference, Estimate, difference, estimate
from orchestrator.fronts.costs import box, costs_of, is_log, reference_of, scaled, sign
from orchestrator.fronts.matched import Targets, by_seed, compared, mean_of, middle
from orchestrator.fronts.others import Guest, guests
from orchestrator.fronts.schema import Objective, objective_columns
from orchestrator.fronts.sentences import sentence
from orchestrator.fronts.series import Series, planes
from orchestrator.fronts.summary import Fronts, volumes_by_seed
from orchestrator.fronts.words import name_of, number, where
from trainer.errors import BadInput


@dataclass(frozen=True)
class Volumes:
    """One frontier's hypervolume in both sweeps, mean over seeds, and the second less the first."""

    where: str
    loss: str
    objective: Objective
    first: Estimate
    second: Estimate
    loss_of_volume: Difference | None
    """The first less the second: below 0 where the second has more, and its verdict `better`."""
    reference_is_theirs: bool
    """Else it and the best values, between which volumes are measured, are those of the two sweeps."""


@dataclass(frozen=True)
class Reading:
    """One metric in both sweeps where another has the same value; None where a frontier does not reach it."""

    where: str
    loss: str
    matched: str
    target: float
    reads: str
    first: float | None
    second: float | None
    ratio: float | None
    statement: str
    """Of A and B, the first and the second; empty where fewer than three seeds say nothing of how sure it is."""
    n_seeds: int
    """Which both have there, or the smaller number of two that share none."""


@dataclass(frozen=True)
class Versus:
    """Everything that `compare` says."""

    reference: Mapping[str, float]
    reference_is_theirs: bool
    """Of both sweep files or of the command line; else the worst values of either's frontiers."""
    volumes: tuple[Volumes, ...]
    readings: tuple[Reading, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    """Frontiers that the other sweep does not have."""
    n_shared: int
    """Trials that are in both."""
    guests: tuple[Guest, ...]
    notes: tuple[str, ...]
    """What was asked for and cannot be told."""


def versus(
    first: Fronts, second: Fronts, *, names: tuple[str, str], targets: Targets, reference: Mapping[str, float]
) -> Versus:
    """Compare what both have. `reference` stands in for both sweeps'.

    Raises `BadInput` where they cannot be compared, and says why and what to do.
    """
    objectives = [objective for objective in first.objectives if objective in second.objectives]
    if not objectives:
        raise BadInput(
            f"{names[0]} and {names[1]} have no frontier.objectives in common: expected at least one list of metrics "
            "that both sweep files have. Launch one again with the other's frontier section: nothing is trained anew"
        )
    _same_ground(first, second, names)
    worst, is_theirs = _reference(first, second, names, objectives, reference)
    ours, theirs = ({_label(series): series for series in fronts.series} for fronts in (first, second))
    both = [(label, ours[label], theirs[label]) for label in ours if label in theirs]
    if not both:
        raise BadInput(f"{names[0]} and {names[1]} share no layer, loss and dictionary size: nothing can be compared")
    given = {**first.reference, **reference}
    readings = [reading for label, *pair in both for reading in _readings(label, pair, planes(objectives), targets)]
    return Versus(
        worst,
        is_theirs,
        tuple(
            _volumes(label, pair, one, worst, _between(one, worst, given, (first, second)))
            for label, *pair in both
            for one in objectives
        ),
        tuple(reading for reading in readings if reading.first is not None or reading.second is not None),
        tuple(label for label in ours if label not in theirs),
        tuple(label for label in theirs if label not in ours),
        len(set(first.own["trial_id"].to_pylist()) & set(second.own["trial_id"].to_pylist())),
        tuple(guests((first.table, second.table), objectives)),
        (*_half_a_reference(objectives, given), *_unreached(readings, targets)),
    )


def _half_a_reference(objectives: Sequence[Objective], given: Mapping[str, float]) -> Iterator[str]:
    """Which references had to be found although others were given."""
    missing = {
        name: None
        for objective in objectives
        if any(name in given for name in objective)
        for name in objective
        if name not in given
    }
    for name in missing:
        yield (
            f"no reference was given for {name_of(name)}: the worst value of both sweeps is taken. Another one:  "
            f"--reference {name}=NUMBER"
        )


def _unreached(readings: Sequence[Reading], targets: Targets) -> Iterator[str]:
    """By target that was asked for, the frontiers that neither sweep has there."""
    for matched, values in targets.items():
        for target in values:
            here = [reading for reading in readings if (reading.matched, reading.target) == (matched, target)]
            reached = {reading.where for reading in here if reading.first is not None or reading.second is not None}
            every = {reading.where for reading in here}
            if here and reached != every:
                which = "no frontier of either sweep" if not reached else "in neither sweep the frontier of "
                names = "; ".join(sorted(every - reached)) if reached else ""
                yield f"{which}{names} reaches {name_of(matched)} {number(target)}: nothing is shown there"


def _between(
    objective: Objective, worst: Mapping[str, float], given: Mapping[str, float], both: Sequence[Fronts]
) -> float | None:
    """What a share of the usual box is multiplied with to be one of the box between the best and the worst values of
    both sweeps. None where the reference point was given: then the usual box is what was asked for."""
    if all(name in given for name in objective):
        return None
    points = [scaled(costs_of({name: series[name] for name in objective}, objective), objective)
              for fronts in both for series in fronts.series]  # fmt: skip
    size = float(np.prod(reference_of(objective, worst) - np.nanmin(np.concatenate(points), axis=0)))
    return box(objective, worst) / size if size > 0 else None


def _volumes(
    label: str, pair: Sequence[Series], objective: Objective, reference: Mapping[str, float], times: float | None
) -> Volumes:
    first, second = (
        {seed: value * (times or 1.0) for seed, value in volumes_by_seed(series, objective, reference).items()}
        for series in pair
    )
    ends = [estimate(np.array(list(values.values()))) for values in (first, second)]
    # The test is about costs: less of minus the volume is more of it.
    turned = difference(
        {seed: -value for seed, value in second.items()}, {seed: -value for seed, value in first.items()}
    )
    return Volumes(label, pair[0].loss, objective, ends[0], ends[1], turned, times is None)


def _readings(label: str, pair: Sequence[Series], pairs: Sequence[Objective], targets: Targets) -> Iterator[Reading]:
    usable = [plane for plane in pairs if all(series.has(plane) for series in pair)]
    for matched in dict.fromkeys([*(plane.y for plane in usable), *(plane.x for plane in usable)]):
        here = [plane for plane in usable if matched in plane]
        for target in _values(pair, here[0], matched, targets):
            for plane in here:
                yield _reading(label, pair, plane, matched, target)


def _values(pair: Sequence[Series], plane: Objective, matched: str, targets: Targets) -> Sequence[float]:
    if matched in targets:
        return targets[matched]
    ranges = [found for series in pair if (found := Curve(series, plane).range(matched)) is not None]
    value = middle(ranges, log=is_log(matched))
    return [] if value is None else [value]


def _reading(label: str, pair: Sequence[Series], plane: Objective, matched: str, target: float) -> Reading:
    reads = other_of(plane, matched)
    values = [by_seed(series, plane, matched, target) for series in pair]
    first, second = (mean_of(found, reads)[0] for found in values)
    ratio = second / first if first and second is not None else None
    against = compared(values[1], values[0], reads)
    said = ""
    if against is not None and second is not None and against.low is not None:
        said = sentence(
            against, loss="B", baseline="A", matched=matched, target=target, reads=reads, value=second, ratio=ratio
        )
    n_seeds = against.n_seeds if against is not None else 0
    return Reading(label, pair[0].loss, matched, target, reads, first, second, ratio, said, n_seeds)


def _same_ground(first: Fronts, second: Fronts, names: tuple[str, str]) -> None:
    told = (
        ("model_hash", "on another frozen model", "Numbers of different models cannot be compared."),
        ("eval_hash", "on other held-out rows", "Give both sweeps the same data section and evaluate them anew."),
    )
    for column, what, fix in told:
        ours, theirs = (set(fronts.own[column].to_pylist()) for fronts in (first, second))
        if ours != theirs:
            hashes = [", ".join(sorted(found_hash[:8] for found_hash in found)) for found in (ours, theirs)]
            raise BadInput(
                f"{names[1]} was measured {what} than {names[0]} ({column} {hashes[1]} against {hashes[0]}): expected "
                f"the same. {fix}"
            )


def _reference(
    first: Fronts, second: Fronts, names: tuple[str, str], objectives: Sequence[Objective], given: Mapping[str, float]
) -> tuple[dict[str, float], bool]:
    metrics = list(dict.fromkeys(name for objective in objectives for name in objective))
    ours, theirs = ({**fronts.reference, **given} for fronts in (first, second))
    different = [name for name in metrics if ours.get(name) != theirs.get(name)]
    if different:
        shown = "; ".join(f"{name}: {ours.get(name, 'none')} against {theirs.get(name, 'none')}" for name in different)
        options = " ".join(f"--reference {name}={ours.get(name, theirs.get(name)):g}" for name in different)
        raise BadInput(
            f"{names[0]} and {names[1]} have different reference points, so their hypervolumes cannot be compared "
            f"({shown}): expected the same frontier.reference. For this comparison alone: {options}"
        )
    worst = {name: ours[name] for name in metrics if name in ours}
    missing = [name for name in metrics if name not in worst]
    return worst | {name: _worst(name, first, second) for name in missing}, not missing


def _worst(metric: str, first: Fronts, second: Fronts) -> float:
    """The worst value of either, and a little more, so that it counts too."""
    column = objective_columns()[metric]
    values = np.concatenate(
        [series[metric].astype(np.float64) for fronts in (first, second) for series in fronts.series]
    )
    turn = sign(column)
    worst = turn * float(np.nanmax(turn * values))
    return max(worst * 1.01, column.best + 0.01) if turn > 0 else min(worst - 0.01 * abs(worst), column.best - 0.01)


def _label(series: Series) -> str:
    return where(series.layer, series.loss, int(series.table["d_sae"][0].as_py()))
