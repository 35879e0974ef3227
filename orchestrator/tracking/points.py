"""What goes over the wire: numbers with the time at which they were recorded, in batches that MLflow takes.

Recorded times make sending idempotent: MLflow drops a point that it has with the same key, step, time and value.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.folder.records import RowStatus
from orchestrator.tracking.address import masked

if TYPE_CHECKING:
    from mlflow import MlflowClient

MAX_POINTS = 1000
"""Metrics that MLflow takes in one call."""
MAX_PARAMS = 100
"""Params, and also tags, that MLflow takes in one call."""
MAX_TEXT = 5000
"""Characters kept of a tag or param; MLflow refuses more than 6,000 in a param and 8,000 in a tag."""

Value = float | list[float] | list[float | None] | None
"""A metric. Lists (one number per later block, histograms) have no place in an MLflow metric and are left out."""

RUN_STATUS: dict[str, str] = {
    RowStatus.DONE: "FINISHED",
    RowStatus.FAILED: "FAILED",
    RowStatus.STOPPED: "KILLED",
    RowStatus.DOMINATED: "KILLED",
}
"""MLflow's words for how a trial ended. Why it was stopped is in its error tag."""


class Point(NamedTuple):
    """One number of a curve."""

    key: str
    value: float
    """NaN where there was none; never infinite, which MLflow would store as a large number."""
    step: int
    time_ms: int
    """Unix time in milliseconds when it was recorded."""


def points_of(step: int, time_ms: int, metrics: Mapping[str, Value]) -> list[Point]:
    """A row of metrics as points. None and infinities become NaN; lists are left out."""
    return [
        Point(key, value if value is not None and math.isfinite(value) else math.nan, step, time_ms)
        for key, value in metrics.items()
        if not isinstance(value, list)
    ]


def final_points(time_ms: int, metrics: Mapping[str, Value]) -> list[Point]:
    """Final metrics as points named `final/<metric>`."""
    return points_of(0, time_ms, {f"final/{key}": value for key, value in metrics.items()})


def in_batches(points: Iterable[Point], size: int = MAX_POINTS) -> Iterator[list[Point]]:
    """Consecutive lists of at most `size` points."""
    iterator = iter(points)
    while batch := list(islice(iterator, size)):
        yield batch


def send_points(client: "MlflowClient", run_id: str, points: Sequence[Point]) -> None:
    """One synchronous call with at most `MAX_POINTS` points."""
    from mlflow.entities import Metric

    client.log_batch(run_id, metrics=[Metric(*_as_mlflow(point)) for point in points])


def send_start(client: "MlflowClient", run_id: str) -> None:
    """Marks the run as running, and forgets why an earlier attempt failed."""
    from mlflow.exceptions import MlflowException

    client.update_run(run_id, status="RUNNING")
    try:
        client.delete_tag(run_id, "error")
    except MlflowException as problem:
        if problem.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise


def send_ending(client: "MlflowClient", run_id: str, status: str, *, time_ms: int, error: str = "") -> None:
    """Marks the run as ended at `time_ms`, with the reason as tag `error` where there is one."""
    if error:
        client.set_tag(run_id, "error", masked(error)[:MAX_TEXT])
    client.set_terminated(run_id, RUN_STATUS.get(status, status), end_time=time_ms)


def _as_mlflow(point: Point) -> tuple[str, float, int, int]:
    return point.key, float(point.value), point.time_ms, point.step
