"""Whether objectives and a reference point make sense: checked when a sweep is read, and where a frontier is made."""

from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.fronts.schema import MOST_OBJECTIVES, Column, Objective, objective_columns
from trainer.errors import BadInput


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


def _is_reference(value: float, column: Column) -> bool:
    """Worse than the best that there can be."""
    return bool(np.isfinite(value)) and (value > column.best if column.better == "lower" else value < column.best)


def _bound(column: Column) -> str:
    return f"{'above' if column.better == 'lower' else 'below'} {column.best:g}"
