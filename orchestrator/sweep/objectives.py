"""Whether objectives and a reference point make sense: checked when a sweep is read, and where a frontier is made."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from orchestrator.fronts.schema import METRIC_COLUMNS, MOST_OBJECTIVES, Column, Objective, objective_columns
from orchestrator.sweep.problems import Problems
from orchestrator.sweep.sweep_schema import Frontier, Logging
from trainer.errors import BadInput

MEASURED_ON_THE_WAY = frozenset(column.name for column in METRIC_COLUMNS)
"""What is known of a trial before its end; alive elements are those that its training counts. Not what it cost."""


def check_objectives(objectives: Sequence[Objective], reference: Mapping[str, float]) -> None:
    """Raise `BadInput` with everything that is wrong with them."""
    known = objective_columns()
    problems = [
        f"frontier.objectives: {name!r} cannot be an objective"
        for objective in objectives
        for name in objective
        if name not in known
    ]
    problems += [
        f"frontier.objectives: {list(objective)} pairs a metric with itself"
        for objective in objectives
        if len({*objective}) < len(objective)
    ]
    problems += [
        f"frontier.objectives: {list(objective)} has {len(objective)}, expected 2 to {MOST_OBJECTIVES} metrics"
        for objective in objectives
        if not 2 <= len(objective) <= MOST_OBJECTIVES
    ]
    if len({*objectives}) < len(objectives):
        problems.append("frontier.objectives: the same pair twice")
    problems += [f"frontier.reference: no metric {name!r}" for name in reference if name not in known]
    problems += [
        f"frontier.reference: {name}={value}, expected a number {_bound(known[name])}"
        for name, value in reference.items()
        if name in known and not _is_reference(value, known[name])
    ]
    if problems:
        raise BadInput("\n".join([*problems, f"Expected metrics among {', '.join(known)}."]))


def judged_by(frontier: Frontier, search: Mapping[str, Any]) -> tuple[str, ...]:
    """The metrics in all of which a trial has to be worse to be stopped early: those of every frontier, and those that
    its search optimises."""
    sought = search.get("objectives", "first")
    names = {name for objective in frontier.planes for name in objective}
    return tuple(sorted(names | (set() if sought == "first" else {*sought})))


def check_stopping(frontier: Frontier, logging: Logging, search: Mapping[str, Any], problems: Problems) -> None:
    """Note what `frontier.stop_dominated` lacks: trials are compared by evaluations on the way."""
    if frontier.stop_dominated == "off":
        return
    path = ("frontier", "stop_dominated")
    if logging.eval_every_tokens == "end":
        problems.add(path, "needs evaluations on the way; give logging.eval_every_tokens a number")
    if search["kind"] == "match":
        problems.add(path, "cannot be together with search.kind match, which needs every trial to its end")
    for name in judged_by(frontier, search):
        if name not in MEASURED_ON_THE_WAY:
            problems.add(path, f"needs objectives that are measured while a trial trains, and {name} is not")


def _is_reference(value: float, column: Column) -> bool:
    """Worse than the best that there can be."""
    return bool(np.isfinite(value)) and (value > column.best if column.better == "lower" else value < column.best)


def _bound(column: Column) -> str:
    return f"{'above' if column.better == 'lower' else 'below'} {column.best:g}"
