"""From rows to the table of the frontier. Pure: values in, a table out; reading and writing it is `export.py`.

One line per trial with a finished evaluation, dominated ones included. Failed and stopped trials are left out.
"""

# pyright: reportUnknownParameterType=false
# pyarrow ships no types.

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from orchestrator.pareto import dominators, hypervolume, hypervolume_contributions, pareto_mask
from orchestrator.records import MLflowRuns, Row, RowStatus
from orchestrator.schema import (
    DEFAULT_OBJECTIVES,
    FRONT_GROUP,
    JOINT_FRONT_GROUP,
    METRIC_COLUMNS,
    RUN_COLUMNS,
    SORTED_BY,
    Column,
    Objective,
    columns,
    objective_columns,
)
from trainer.errors import BadInput

Line = dict[str, object]
"""One trial by column."""


def frontier_table(
    rows: Iterable[Row],
    *,
    sweep_id: str,
    objectives: Sequence[Objective] = DEFAULT_OBJECTIVES,
    reference: Mapping[str, float] | None = None,
    mlflow_runs: MLflowRuns | None = None,
) -> pa.Table:
    """The table of `schema.columns(objectives)`, sorted by `SORTED_BY`.

    `reference`: worst value of interest by column, of which hypervolume is measured; without one of an objective's two,
    that objective has none. Raises `BadInput` for an objective or a reference that no metric answers to.
    """
    reference = reference or {}
    check_objectives(objectives, reference)
    rows = list(rows)
    unfit = left_out(rows, objectives)
    lines = [_line(row, sweep_id, mlflow_runs) for row in rows if row.trial_id not in unfit]
    lines.sort(key=lambda line: tuple(line[name] for name in SORTED_BY))  # pyright: ignore[reportArgumentType]
    for objective in objectives:
        _add_front(lines, objective, reference)
    return pa.table(
        [pa.array([line[column.name] for line in lines], column.type) for column in columns(objectives)],
        schema=pa.schema([column.field for column in columns(objectives)]),
    )


def left_out(rows: Iterable[Row], objectives: Sequence[Objective] = DEFAULT_OBJECTIVES) -> dict[str, str]:
    """By trial id, why a row is not in the table."""
    needed = {column.name for column in METRIC_COLUMNS if not column.nullable}
    needed |= {name for objective in objectives for name in objective}
    reasons = {row.trial_id: _reason(row, sorted(needed)) for row in rows}
    return {trial_id: reason for trial_id, reason in reasons.items() if reason}


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
        f"frontier.objectives: {list(pair)} pairs a metric with itself" for pair in objectives if len({*pair}) < 2
    ]
    if len({*objectives}) < len(objectives):
        problems.append("frontier.objectives: the same pair twice")
    problems += [f"frontier.reference: no metric {name!r}" for name in reference if name not in known]
    problems += [
        f"frontier.reference: {name}={value}, expected a number above {_least(known[name]):g}"
        for name, value in reference.items()
        if name in known and not (np.isfinite(value) and value > _least(known[name]))
    ]
    if problems:
        raise BadInput("\n".join([*problems, f"Expected metrics among {', '.join(known)}."]))


def _least(column: Column) -> float:
    return {"log": 1.0, "linear": 0.0}[column.scale] if column.better == "lower" else -np.inf


def _reason(row: Row, needed: Sequence[str]) -> str:
    if row.status is not RowStatus.DONE:
        return f"{row.status}: {row.error}" if row.error else str(row.status)
    missing = [name for name in needed if not isinstance(row.metrics.get(name), float)]
    return f"no finite {', '.join(missing)}" if missing else ""


def _line(row: Row, sweep_id: str, runs: MLflowRuns | None) -> Line:
    config, facts, versions = row.config, row.facts, row.versions
    assert facts is not None  # a done row has them; Row holds that
    weights = config.loss.weights
    return {
        "sweep_id": sweep_id,
        "trial_id": row.trial_id,
        "pack_id": row.pack_id,
        "run_name": row.run_name,
        "mlflow_experiment_id": runs.experiment_id if runs else None,
        "mlflow_run_id": runs.trials.get(row.trial_id) if runs else None,
        "model": config.model.name,
        "dataset": config.data.dataset,
        "hookpoint": config.hookpoint,
        "layer": config.layer,
        "loss": config.loss.kind,
        "sparsity_coeff": weights.sparsity,
        "sparsity_p": weights.sparsity_p,
        "kl_coeff": weights.kl,
        "downstream_coeff": weights.downstream,
        "local_coeff": weights.local,
        "activation": config.sae.activation,
        "d_model": facts.d_model,
        "d_sae": facts.d_sae,
        "ratio": config.sae.ratio,
        "seed": config.seed,
        "lr": config.train.lr,
        "context": config.data.context,
        "n_train_tokens": facts.n_train_tokens,
        "n_eval_tokens": facts.n_eval_tokens,
        "alive_window_tokens": config.eval.alive_window_tokens,
        **{column.name: _as_stored(row.metrics.get(column.name), column) for column in METRIC_COLUMNS},
        **{column.name: _as_stored(row.cost.get(column.name), column) for column in RUN_COLUMNS if column.nullable},
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "device": versions.device,
        "torch_version": versions.torch,
        "code_version": versions.code,
        "git_commit": versions.git_commit,
        "data_hash": facts.data_hash,
        "eval_hash": facts.eval_hash,
        "model_hash": facts.model_hash,
        "config_json": config.model_dump_json(),
    }


def _as_stored(value: float | list[float | None] | None, column: Column) -> object:
    return round(value) if isinstance(value, float) and pa.types.is_integer(column.type) else value


def _add_front(lines: list[Line], objective: Objective, reference: Mapping[str, float]) -> None:
    name = objective.label
    for group in _grouped(lines, FRONT_GROUP):
        costs = _costs(group, objective)
        shares = _hypervolume_shares(group, objective, reference)
        for line, on_front, by, share in zip(group, pareto_mask(costs), dominators(costs), shares, strict=True):
            line[f"on_front_{name}"] = bool(on_front)
            line[f"dominated_by_{name}"] = None if by is None else group[by]["trial_id"]
            line[f"hv_contribution_{name}"] = share
    for group in _grouped(lines, JOINT_FRONT_GROUP):
        for line, on_front in zip(group, pareto_mask(_costs(group, objective)), strict=True):
            line[f"on_joint_front_{name}"] = bool(on_front)


def _grouped(lines: Iterable[Line], by: Sequence[str]) -> Iterable[list[Line]]:
    groups: dict[tuple[object, ...], list[Line]] = {}
    for line in lines:
        groups.setdefault(tuple(line[name] for name in by), []).append(line)
    return groups.values()


def _costs(group: Sequence[Line], objective: Objective) -> np.ndarray:
    """ "trials 2", lower is better. Here directions are settled."""
    known = objective_columns()
    signs = [1.0 if known[name].better == "lower" else -1.0 for name in objective]
    return np.array([[line[name] for name in objective] for line in group], dtype=np.float64) * signs


def _hypervolume_shares(
    group: Sequence[Line], objective: Objective, reference: Mapping[str, float]
) -> Sequence[float | None]:
    """Of counts (log columns) the log10 is measured, and a count below 1 counts as 1."""
    if not all(name in reference for name in objective):
        return [None] * len(group)
    known = objective_columns()
    costs = _costs(group, objective)
    worst = _costs([dict(reference)], objective)
    for axis, name in enumerate(objective):
        if known[name].scale == "log":
            costs[:, axis] = np.log10(np.maximum(costs[:, axis], 1.0))
            worst[:, axis] = np.log10(worst[:, axis])
    total = hypervolume(costs, reference=worst[0])
    contributions = hypervolume_contributions(costs, reference=worst[0])
    return [float(part / total) if total > 0 else 0.0 for part in contributions]
