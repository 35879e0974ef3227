"""Metrics as costs: the one place where directions and scales are settled. After it everything is minimised."""

# pyright: reportUnknownParameterType=false
# pyarrow ships no types.

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from orchestrator.fronts.schema import Column, Objective, objective_columns

Columns = Mapping[str, np.ndarray] | pa.Table


def costs_of(columns: Columns, objective: Objective) -> Float[np.ndarray, "trials objectives"]:
    """The objective's metrics, those that should be high with their sign turned."""
    known = objective_columns()
    return np.column_stack([_floats(columns[name]) * sign(known[name]) for name in objective])


def values_of(costs: Float[np.ndarray, "points objectives"], objective: Objective) -> np.ndarray:
    """Costs as metrics again."""
    known = objective_columns()
    return costs * np.array([sign(known[name]) for name in objective])


def scaled(
    costs: Float[np.ndarray, "points objectives"], objective: Objective
) -> Float[np.ndarray, "points objectives"]:
    """As hypervolume measures them: of counts (log columns) the log10, and a count below 1 counts as 1."""
    known = objective_columns()
    logs = [known[name].scale == "log" for name in objective]
    return np.where(logs, np.log10(np.maximum(costs, 1.0)), costs)


def reference_of(objective: Objective, reference: Mapping[str, float]) -> Float[np.ndarray, " objectives"]:
    """The reference point where `scaled` costs are measured from."""
    return scaled(costs_of({name: np.array([reference[name]]) for name in objective}, objective), objective)[0]


def box(objective: Objective, reference: Mapping[str, float]) -> float:
    """Volume from the best values there can be to the reference point: what hypervolumes are shares of."""
    known = objective_columns()
    best = scaled(costs_of({name: np.array([known[name].best]) for name in objective}, objective), objective)[0]
    return float(np.prod(reference_of(objective, reference) - best))


def sign(column: Column) -> float:
    """1 where lower is better, -1 where higher is."""
    return 1.0 if column.better == "lower" else -1.0


def is_log(metric: str) -> bool:
    """Whether differences of it are felt as ratios."""
    return objective_columns()[metric].scale == "log"


def _floats(values: Any) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)
