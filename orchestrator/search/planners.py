"""From the `search` section of a sweep to its planner. What does not fit the grid or the model is said by its line."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.fronts.schema import objective_columns
from orchestrator.planning.beyond_grid import Beyond
from orchestrator.planning.trials import Cell, ModelShape
from orchestrator.search.fill import Fill
from orchestrator.search.match import Match
from orchestrator.search.sampled import Bound, Sampled
from orchestrator.search.space import COEFFICIENT, Choices, Group, Range
from orchestrator.search.tried import Planner, Proposal, Series
from orchestrator.search.volume import FillVolume
from orchestrator.sweep.problems import Problems
from orchestrator.sweep.resolve import NoValue, choose
from orchestrator.sweep.sweep_file import Sweep
from orchestrator.sweep.sweep_schema import SAMPLERS
from trainer.errors import BadInput


def planner_of(sweep: Sweep, facts: ModelShape) -> tuple[Planner, Beyond] | None:
    """The planner that the sweep asks for, and what makes trials of its proposals; None where the grid is all.

    Raises:
        BadInput: it does not fit the grid or the model; all problems at once, each with its line.
    """
    asked, problems = sweep.search, Problems(sweep.source)
    if asked["kind"] == "grid":
        return None
    if asked["kind"] in SAMPLERS:
        return _sampled(sweep, facts, problems)
    beyond = Beyond(sweep, facts)
    name = "l0" if asked["kind"] == "fill" else "target"
    wanted = dict(_by_series(asked[name], ("search", name), beyond, problems))
    problems.raise_if_any()
    if asked["kind"] == "match":
        target = asked["target"]
        text = f"{target:g}" if isinstance(target, float) else json.dumps(target)
        label = f"match {asked['metric']} {text}"
        return Match(wanted, asked["metric"], asked["tolerance"], asked["max_trials"], label), beyond
    if asked["by"] == "gap":
        return Fill(wanted, asked["max_gap"]), beyond
    worst = sweep.frontier.reference
    return FillVolume(wanted, worst.get("ce_loss_increase"), asked["min_gain"], worst.get("l0")), beyond


def _by_series(value: Any, path: tuple[str, ...], beyond: Beyond, problems: Problems) -> Iterator[tuple[Series, Any]]:
    for series in beyond.all_series():
        try:
            yield series, choose(value, path, loss=series.loss, layer=series.layer).value
        except NoValue as missing:
            problems.add(*missing.args)


def _sampled(sweep: Sweep, facts: ModelShape, problems: Problems) -> tuple[Planner, Beyond]:
    cells = Beyond(sweep, facts).cells
    spaces = {place: _space(sweep, cell, problems) for place, cell in cells.items()}
    problems.raise_if_any()
    groups = tuple(Group(*place, space) for place, space in spaces.items())
    chosen = {place: sorted(set(space) & set(sweep.search["space"])) for place, space in spaces.items()}
    beyond = Beyond(sweep, facts, chosen=chosen)
    _check_ends(groups, beyond, problems)
    problems.raise_if_any()
    asked = sweep.search["objectives"]
    names = sweep.frontier.planes[0] if asked == "first" else asked
    columns = objective_columns()
    directions = tuple((name, "minimize" if columns[name].better == "lower" else "maximize") for name in names)
    bounds = tuple(Bound(name, value, "at_most") for name, value in sweep.search["at_most"].items())
    bounds += tuple(Bound(name, value, "at_least") for name, value in sweep.search["at_least"].items())
    return Sampled(groups, sweep.search["kind"], directions, sweep.search["seed"], bounds), beyond  # pyright: ignore[reportArgumentType]


def _space(sweep: Sweep, cell: Cell, problems: Problems) -> Mapping[str, Choices]:
    """What is given for this layer and loss, and for other axes what the grid has."""
    coefficients = sorted(cell.axes[COEFFICIENT])
    low, high = coefficients[0], coefficients[-1]
    found: dict[str, Choices] = {COEFFICIENT: Range(low, high, log=True) if low < high else (low,)}
    found |= {axis: tuple(values) for axis, values in cell.axes.items() if "." in axis}
    for name, value in sweep.search["space"].items():
        if name.startswith("loss.") and name.split(".")[1] != cell.loss:
            continue
        try:
            found[name] = choose(value, ("search", "space", name), loss=cell.loss, layer=cell.layer).value  # pyright: ignore[reportArgumentType]
        except NoValue as missing:
            problems.add(*missing.args)
    return found


def _check_ends(groups: tuple[Group, ...], beyond: Beyond, problems: Problems) -> None:
    """Every value at an end of the space makes a possible trial, together with the first of the other fields."""
    for group in groups:
        first = {name: _ends(choices)[0] for name, choices in group.space.items()}
        if why := _why_impossible(group, first, beyond):
            problems.add(("search", "space"), f"its lowest values make an impossible trial: {why}")
            continue
        for name, choices in group.space.items():
            for value in _ends(choices)[1:]:
                if why := _why_impossible(group, first | {name: value}, beyond):
                    problems.add(("search", "space", name), f"{value} makes an impossible trial: {why}")


def _why_impossible(group: Group, values: Mapping[str, Any], beyond: Beyond) -> str:
    """Empty where it is possible."""
    series, coefficient = group.point(values)
    try:
        beyond.trials(Proposal(series, coefficient), search="", number=1)
    except BadInput as problem:
        return str(problem).splitlines()[-1]
    return ""


def _ends(choices: Choices) -> tuple[Any, ...]:
    return (choices.low, choices.high) if isinstance(choices, Range) else choices
