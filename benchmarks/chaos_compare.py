"""Whether a disturbed sweep has come to what its twin has: to the bit, and in MLflow to the point."""

import hashlib
import math
from collections import Counter
from pathlib import Path
from typing import Any

from orchestrator.folder.clock import in_ms
from orchestrator.folder.records import Row
from orchestrator.folder.run_folder import RunFolder
from orchestrator.tracking.points import final_points
from orchestrator.tracking.store import create_store

CLOSE = 0.02
"""Relative difference of a metric that the order of sums may make over some hundred steps."""
METRICS = ("l0", "ce_loss_increase", "explained_variance")
Found = dict[str, Any]
Point = tuple[str, int, float | None]
"""Curve, step, value."""


def compared(ours: Path, twin: Path, *, uri: str | None, twin_uri: str | None) -> Found:
    """Counts, and the differences; all lists are empty where nothing was lost."""
    one, two = RunFolder(ours), RunFolder(twin)
    rows, wanted = {row.trial_id: row for row in one.rows()}, {row.trial_id: row for row in two.rows()}
    found: Found = {
        "trials": len(wanted),
        "rows_differ": sorted(id_ for id_ in rows.keys() | wanted.keys() if _row(rows, id_) != _row(wanted, id_)),
        "weights_differ": _weights_differ(one, two, wanted),
        "curve_points": sum(len(two.curve(id_)) for id_ in wanted),
        "curves_differ": [id_ for id_ in wanted if _curve(one, id_) != _curve(two, id_)],
        "points_twice_in_journals": sum(_n_lines(one, id_) - len(one.curve(id_)) for id_ in wanted),
        "rows_of_another_end": sorted(
            id_ for id_ in rows.keys() | wanted.keys() if _end(rows, id_) != _end(wanted, id_)
        ),
        "curves_of_other_steps": [id_ for id_ in wanted if _keys(one, id_) != _keys(two, id_)],
        "largest_difference": max((_difference(rows, wanted, id_) for id_ in wanted), default=0.0),
        "left_over": sorted(str(path.relative_to(ours)) for path in ours.rglob("*.tmp")),
    }
    if uri is not None and twin_uri is not None:
        found |= _mlflow(one, two, rows, uri, twin_uri)
    return found


def is_equal(found: Found) -> bool:
    """Whether nothing was lost, changed or doubled."""
    return not any(value for name, value in found.items() if name not in ("trials", "curve_points", "mlflow_points"))


def _row(rows: dict[str, Row], trial_id: str) -> object:
    row = rows.get(trial_id)
    # Whatever is measured: when, for how long and on which machine it ran is not.
    return row and (
        row.run_name,
        row.pack_id,
        row.status,
        row.error,
        row.config,
        row.facts,
        row.metrics,
        row.sae_sha256,
    )


def _end(rows: dict[str, Row], trial_id: str) -> object:
    return (row := rows.get(trial_id)) and (row.status, row.error, row.metrics.keys())


def _difference(rows: dict[str, Row], wanted: dict[str, Row], trial_id: str) -> float:
    """Of a trial's metrics, relative to the larger."""
    if trial_id not in rows:
        return float("inf")
    pairs = [(rows[trial_id].metrics.get(name), wanted[trial_id].metrics.get(name)) for name in METRICS]
    numbers = [(one, two) for one, two in pairs if isinstance(one, float) and isinstance(two, float)]
    return max((abs(one - two) / max(abs(one), abs(two), 1e-9) for one, two in numbers), default=0.0)


def _keys(folder: RunFolder, trial_id: str) -> list[object]:
    return [point.key for point in folder.curve(trial_id)]


def _weights_differ(one: RunFolder, two: RunFolder, wanted: dict[str, Row]) -> list[str]:
    return [id_ for id_ in wanted if _hashes(one.sae(id_)) != _hashes(two.sae(id_))]


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*"))}


def _curve(folder: RunFolder, trial_id: str) -> list[object]:
    return [(point.step, point.tokens, point.metrics) for point in folder.curve(trial_id)]


def _n_lines(folder: RunFolder, trial_id: str) -> int:
    path = folder.journal(trial_id)
    return len(path.read_text().splitlines()) if path.exists() else 0


# MLflow


def _mlflow(one: RunFolder, two: RunFolder, rows: dict[str, Row], uri: str, twin_uri: str) -> Found:
    """Points of ours against the twin's by step and value; and against our own run folder by time, too."""
    ours, wanted = _histories(uri), _histories(twin_uri)
    found: Found = {
        "mlflow_points": sum(len(points) for _, runs in wanted.items() for _, _, points in runs),
        "mlflow_runs_differ": sorted(id_ for id_ in wanted if len(ours.get(id_, [])) != 1),
        "mlflow_statuses_differ": [],
        "mlflow_points_missing": 0,
        "mlflow_points_twice_or_more": 0,
        "mlflow_points_of_another_time": 0,
    }
    for trial_id, [(_, status, points)] in ((id_, runs) for id_, runs in wanted.items() if len(runs) == 1):
        for _, our_status, our_points in ours.get(trial_id, []):
            if our_status != status:
                found["mlflow_statuses_differ"].append(trial_id)
            there, expected = _counted(our_points), _counted(points)
            found["mlflow_points_missing"] += sum((expected - there).values())
            found["mlflow_points_twice_or_more"] += sum((there - expected).values())
            if trial_id in rows:
                found["mlflow_points_of_another_time"] += len(our_points ^ _of_folder(one, rows[trial_id]))
    return found


def _histories(uri: str) -> dict[str, list[tuple[str, str, set[tuple[Point, int]]]]]:
    """By trial, its active runs: id, status, points with their times."""
    client = create_store(uri)
    experiment = client.get_experiment_by_name("chaos")
    assert experiment is not None
    found: dict[str, list[tuple[str, str, set[tuple[Point, int]]]]] = {}
    for run in client.search_runs([experiment.experiment_id], max_results=1000):
        if (trial_id := run.data.tags.get("trial_id")) is None:
            continue
        points = {
            (_point(metric.key, metric.step, metric.value), metric.timestamp)
            for name in run.data.metrics
            for metric in client.get_metric_history(run.info.run_id, name)
        }
        found.setdefault(trial_id, []).append((run.info.run_id, run.info.status, points))
    return found


def _of_folder(folder: RunFolder, row: Row) -> set[tuple[Point, int]]:
    curve = {
        (_point(name, point.step, math.nan if value is None else value), point.time_ms)
        for point in folder.curve(row.trial_id)
        for name, value in point.metrics.items()
    }
    final = final_points(in_ms(row.finished_at), row.metrics)
    return curve | {(_point(point.key, point.step, point.value), point.time_ms) for point in final}


def _point(name: str, step: int, value: float) -> Point:
    return name, step, None if math.isnan(value) else value


def _counted(points: set[tuple[Point, int]]) -> Counter[Point]:
    return Counter(point for point, _ in points)


def is_close(found: Found) -> bool:
    """The same where packs were split: the same trials, ends and points, their numbers up to the order of sums."""
    exact = ("rows_of_another_end", "curves_of_other_steps", "points_twice_in_journals", "left_over")
    return not any(found[name] for name in exact) and found["largest_difference"] < CLOSE
