"""From rows to the table of the frontier. Pure: values in, a table out; reading and writing it is `export.py`.

One line per trial with a finished evaluation, dominated ones included. Failed and stopped trials are left out.
"""

# pyright: reportUnknownParameterType=false
# pyarrow ships no types.

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from orchestrator.folder.records import MLflowRuns, Row
from orchestrator.fronts.costs import costs_of, reference_of, scaled
from orchestrator.fronts.grouped import grouped
from orchestrator.fronts.pareto import NOBODY, dominators, hypervolume, hypervolume_contributions, pareto_mask
from orchestrator.fronts.schema import (
    DEFAULT_OBJECTIVES,
    EXTERNAL,
    FRONT_GROUP,
    JOINT_FRONT_GROUP,
    METRIC_COLUMNS,
    OWN,
    SORTED_BY,
    Column,
    Objective,
    columns,
)
from orchestrator.fronts.trial_lines import failures_by_trial, is_among, is_dominated, is_done, lines_of
from orchestrator.sweep.objectives import check_objectives


def frontier_table(
    rows: Iterable[Row],
    *,
    sweep_id: str,
    objectives: Sequence[Objective] = DEFAULT_OBJECTIVES,
    reference: Mapping[str, float] | None = None,
    mlflow_runs: MLflowRuns | None = None,
) -> pa.Table:
    """`frontier_of_lines` of rows."""
    return frontier_of_lines(
        lines_of(rows), sweep_id=sweep_id, objectives=objectives, reference=reference, mlflow_runs=mlflow_runs
    )


def frontier_of_lines(
    lines: pa.Table,
    *,
    sweep_id: str,
    objectives: Sequence[Objective] = DEFAULT_OBJECTIVES,
    reference: Mapping[str, float] | None = None,
    mlflow_runs: MLflowRuns | None = None,
    external: pa.Table | None = None,
) -> pa.Table:
    """The table of `schema.columns(objectives)`, sorted by `SORTED_BY`.

    `reference`: worst value of interest by column, of which hypervolume is measured; without one of each of an
    objective's metrics, that objective has none. `external`: lines of SAEs that others trained; they change nothing in
    the lines of the sweep's own. Raises `BadInput` for an objective or a reference that makes no sense.
    """
    check_objectives(objectives, reference or {})
    table = pa.concat_tables([_of(OWN, _fit(lines, objectives)), *_others(external, objectives)])
    table = table.sort_by([(name, "ascending") for name in SORTED_BY])
    found = {name: table[name] for name in table.column_names} | _of_the_sweep(table, sweep_id, mlflow_runs)
    for objective in objectives:
        found |= _fronts(table, objective, reference or {})
    wanted = columns(objectives)
    return pa.table(
        [_as(found[column.name], column) for column in wanted], schema=pa.schema([column.field for column in wanted])
    )


def left_out(rows: Iterable[Row], objectives: Sequence[Objective] = DEFAULT_OBJECTIVES) -> dict[str, str]:
    """By trial id, why a row is not in the table."""
    return left_out_of(lines_of(rows), objectives)


def left_out_of(lines: pa.Table, objectives: Sequence[Objective] = DEFAULT_OBJECTIVES) -> dict[str, str]:
    """By trial id, why a line is not in the table."""
    reasons = failures_by_trial(lines)
    needed = _needed(objectives)
    done = lines.filter(pa.array(is_done(lines)))
    bad = done.filter(pa.array(~_has_all(done, needed))).select(["trial_id", *needed])
    for line in bad.to_pylist():
        reasons[line["trial_id"]] = f"no finite {', '.join(name for name in needed if line[name] is None)}"
    order = {trial_id: place for place, trial_id in enumerate(lines["trial_id"].to_pylist())} if reasons else {}
    return dict(sorted(reasons.items(), key=lambda item: order[item[0]]))


def missing_by_front(lines: pa.Table, table: pa.Table) -> dict[tuple[str | int, ...], tuple[str, ...]]:
    """Trials that are not in the table, by the `FRONT_GROUP` of those in it that share their model, hookpoint, loss and
    ratio. A trial that failed early does not know its group. Nobody misses one that was stopped as dominated."""
    alike = ("model", "hookpoint", "loss", "ratio")
    groups: dict[tuple[object, ...], tuple[str | int, ...]] = {}
    for group in grouped(table, FRONT_GROUP):
        first = {name: table[name][int(group[0])].as_py() for name in (*FRONT_GROUP, *alike)}
        groups[tuple(first[name] for name in alike)] = tuple(first[name] for name in FRONT_GROUP)
    is_missing = ~is_among(lines, table["trial_id"].to_pylist()) & ~is_dominated(lines)
    out = lines.filter(pa.array(is_missing)).select(["trial_id", *alike])
    found: dict[tuple[str | int, ...], list[str]] = {}
    for line in out.to_pylist():
        if (key := groups.get(tuple(line[name] for name in alike))) is not None:
            found.setdefault(key, []).append(line["trial_id"])
    return {key: tuple(trial_ids) for key, trial_ids in found.items()}


def _needed(objectives: Sequence[Objective]) -> list[str]:
    needed = {column.name for column in METRIC_COLUMNS if not column.nullable}
    return sorted(needed | {name for objective in objectives for name in objective})


def _has_all(lines: pa.Table, names: Sequence[str]) -> np.ndarray:
    present = np.ones(len(lines), dtype=bool)
    for name in names:
        present &= lines[name].is_valid().to_numpy()
    return present


def _fit(lines: pa.Table, objectives: Sequence[Objective]) -> pa.Table:
    done = lines.filter(pa.array(is_done(lines)))
    return done.filter(pa.array(_has_all(done, _needed(objectives))))


def _of(source: str, lines: pa.Table) -> pa.Table:
    return lines.append_column("source", pa.repeat(source, len(lines)))


def _others(external: pa.Table | None, objectives: Sequence[Objective]) -> list[pa.Table]:
    return [] if external is None else [_of(EXTERNAL, _fit(external, objectives))]


def _of_the_sweep(table: pa.Table, sweep_id: str, runs: MLflowRuns | None) -> dict[str, pa.Array]:
    n, text = len(table), pa.string()
    found = {name: pa.nulls(n, text) for name in ("mlflow_experiment_id", "mlflow_run_id")}
    if runs is not None:
        found["mlflow_experiment_id"] = pa.repeat(runs.experiment_id, n)
        found["mlflow_run_id"] = pa.array([runs.trials.get(id_) for id_ in table["trial_id"].to_pylist()], text)
    return found | {"sweep_id": pa.repeat(sweep_id, n)}


def _as(values: pa.Array, column: Column) -> pa.Array:
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return whole.cast(column.type) if whole.type != column.type else whole


def _fronts(table: pa.Table, objective: Objective, reference: Mapping[str, float]) -> dict[str, pa.Array]:
    """The columns of `schema.front_columns`."""
    n, name = len(table), objective.label
    costs = costs_of(table, objective)
    measured = all(metric in reference for metric in objective)
    on_front, on_joint = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    by, shares = np.full(n, NOBODY), np.zeros(n)
    for group in grouped(table, FRONT_GROUP):
        on_front[group] = pareto_mask(costs[group])
        local = dominators(costs[group], on_front[group])
        by[group] = np.where(local == NOBODY, NOBODY, group[local])
        if measured:
            shares[group] = _hypervolume_shares(costs[group], objective, reference)
    own = np.asarray(table["source"].to_numpy() == OWN, dtype=bool)
    for group in grouped(table, JOINT_FRONT_GROUP):
        on_joint[group] = pareto_mask(costs[group])
        ours = group[own[group]]
        if len(ours) < len(group):
            on_joint[ours] = pareto_mask(costs[ours])
    return {
        f"on_front_{name}": pa.array(on_front),
        f"on_joint_front_{name}": pa.array(on_joint),
        f"dominated_by_{name}": table["trial_id"].take(pa.array(by, mask=by == NOBODY)),
        f"hv_contribution_{name}": pa.array(shares, mask=np.full(n, not measured)),
    }


def _hypervolume_shares(costs: np.ndarray, objective: Objective, reference: Mapping[str, float]) -> np.ndarray:
    points, worst = scaled(costs, objective), reference_of(objective, reference)
    total = hypervolume(points, reference=worst)
    return hypervolume_contributions(points, reference=worst) / total if total > 0 else np.zeros(len(points))
