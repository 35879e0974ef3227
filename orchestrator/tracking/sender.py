"""The thread that sends a worker's numbers to MLflow, in batches, trying again for as long as its logger is open."""

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from orchestrator.records import RowStatus
from orchestrator.tracking.address import masked
from orchestrator.tracking.logger import Ending, Unsent
from orchestrator.tracking.points import (
    MAX_POINTS,
    Point,
    Value,
    final_points,
    points_of,
    send_ending,
    send_points,
    send_start,
)
from orchestrator.tracking.store import import_mlflow, open_client

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LONGEST_PAUSE_S = 60.0
_REFUSALS = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "INVALID_STATE", "PERMISSION_DENIED"}
"""Answers that will not change by asking again. (An overloaded server says BAD_REQUEST: that one is asked again.)"""


@dataclass
class _Outbox:
    """What is still to be sent of one trial."""

    run_id: str
    points: deque[Point] = field(default_factory=lambda: deque[Point]())
    ending: Ending | None = None
    running: bool = False
    """MLflow was told that the trial runs."""
    n_dropped: int = 0
    """Points that found the queue full."""
    refusal: str = ""
    """Why MLflow will never take more of this trial."""


class MlflowLogger:
    """Sends to MLflow from one thread, in batches, trying again for as long as it is open."""

    def __init__(
        self, uri: str, run_ids: Mapping[str, str], *, flush_every_s: float = 2.0, max_points: int = 100_000
    ) -> None:
        """`run_ids`: MLflow run by trial. At most `max_points` wait (about 25 MB); the journal has the rest."""
        # Imports MLflow here, in the caller's thread: two threads importing at once can see half a module.
        import_mlflow()
        self._uri = uri
        self._client: MlflowClient | None = None
        self._boxes = {trial_id: _Outbox(run_id) for trial_id, run_id in run_ids.items()}
        self._flush_every_s = flush_every_s
        self._max_points = max_points
        self._n_waiting = 0
        self._trouble = ""
        self._deadline = float("inf")
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlflow-sender", daemon=True)
        self._thread.start()

    def log(self, trial_id: str, step: int, time_ms: int, metrics: Mapping[str, Value]) -> None:
        points = points_of(step, time_ms, metrics)
        with self._lock:
            box = self._boxes[trial_id]
            if self._n_waiting + len(points) > self._max_points or box.refusal or self._closing.is_set():
                box.n_dropped += len(points)
            else:
                self._put(box, points)

    def finish(
        self, trial_id: str, status: RowStatus, *, time_ms: int, metrics: Mapping[str, Value], error: str = ""
    ) -> None:
        with self._lock:
            box = self._boxes[trial_id]
            self._put(box, final_points(time_ms, metrics))
            box.ending = Ending(status, time_ms, error)

    def close(self, *, deadline_s: float) -> tuple[Unsent, ...]:
        self._deadline = time.monotonic() + deadline_s
        self._closing.set()
        self._thread.join(deadline_s)
        with self._lock:
            return tuple(
                Unsent(
                    trial_id,
                    box.run_id,
                    n_points=len(box.points) + box.n_dropped,
                    ending=box.ending is not None,
                    reason=box.refusal or self._trouble or "the queue was full",
                )
                for trial_id, box in self._boxes.items()
                if box.points or box.n_dropped or box.ending is not None
            )

    def _put(self, box: _Outbox, points: list[Point]) -> None:
        box.points.extend(points)
        self._n_waiting += len(points)

    def _run(self) -> None:
        """The thread: sends what has gathered, then sleeps; longer each time that it failed."""
        pause_s = self._flush_every_s
        while True:
            closing = self._closing.wait(pause_s)
            sent = self._send_all()
            if closing and (sent or time.monotonic() >= self._deadline):
                return
            if closing:
                time.sleep(min(0.5, max(0.0, self._deadline - time.monotonic())))
            pause_s = self._flush_every_s if sent else min(_LONGEST_PAUSE_S, max(1.0, 2 * pause_s))

    def _send_all(self) -> bool:
        """True when everything that waited was sent or refused; stops at the first sign of a server in trouble."""
        for box in self._boxes.values():
            try:
                self._send(box)
            except Exception as problem:
                # Whatever the client, the database or the network raises: training goes on and the journal has it all.
                self._trouble = masked(str(problem))[:500]
                if getattr(problem, "error_code", None) not in _REFUSALS:
                    return False
                with self._lock:
                    box.refusal = self._trouble
                    box.n_dropped += len(box.points)
                    self._n_waiting -= len(box.points)
                    box.points.clear()
        return True

    def _send(self, box: _Outbox) -> None:
        client = self._client = self._client or open_client(self._uri)
        while not box.refusal:
            with self._lock:
                batch = list(islice(box.points, MAX_POINTS))
                ending = box.ending
            if batch:
                if not box.running:
                    send_start(client, box.run_id)
                    box.running = True
                send_points(client, box.run_id, batch)
                self._forget(box, len(batch))
            elif ending is not None:
                send_ending(self._client, box.run_id, ending.status, time_ms=ending.time_ms, error=masked(ending.error))
                with self._lock:
                    box.ending = None
            else:
                return

    def _forget(self, box: _Outbox, n_points: int) -> None:
        """Takes sent points off the queue."""
        with self._lock:
            for _ in range(n_points):
                box.points.popleft()
            self._n_waiting -= n_points
