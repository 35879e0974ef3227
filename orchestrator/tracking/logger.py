"""What a worker tells about its trials, and the logger that only keeps it. `sender.py` has the one that sends it.

The journal in the run folder is the truth. What a logger could not send it names, and `Tracker.replay` sends it later.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from orchestrator.records import RowStatus
from orchestrator.tracking.points import Point, Value, final_points, points_of


class Ending(NamedTuple):
    """How a trial ended."""

    status: RowStatus
    time_ms: int
    error: str


class Unsent(NamedTuple):
    """What MLflow has not got of one trial when the logger was closed."""

    trial_id: str
    run_id: str
    n_points: int
    ending: bool
    """The run's status is among what is missing."""
    reason: str


class TrialLogger(Protocol):
    """What a worker tells about its trials. No method blocks on a server except `close`."""

    def log(self, trial_id: str, step: int, time_ms: int, metrics: Mapping[str, Value]) -> None:
        """Metrics of one step, with the Unix time in milliseconds that the journal has for them."""
        ...

    def finish(
        self, trial_id: str, status: RowStatus, *, time_ms: int, metrics: Mapping[str, Value], error: str = ""
    ) -> None:
        """How the trial ended, and its final metrics (sent as `final/<metric>`)."""
        ...

    def close(self, *, deadline_s: float) -> tuple[Unsent, ...]:
        """Sends the rest for at most `deadline_s` seconds; returns what could not be sent. Raises nothing."""
        ...


class ListLogger:
    """Keeps everything in lists: for tests, and for sweeps without MLflow."""

    def __init__(self) -> None:
        self.points: dict[str, list[Point]] = {}
        self.endings: dict[str, Ending] = {}

    def log(self, trial_id: str, step: int, time_ms: int, metrics: Mapping[str, Value]) -> None:
        self.points.setdefault(trial_id, []).extend(points_of(step, time_ms, metrics))

    def finish(
        self, trial_id: str, status: RowStatus, *, time_ms: int, metrics: Mapping[str, Value], error: str = ""
    ) -> None:
        self.points.setdefault(trial_id, []).extend(final_points(time_ms, metrics))
        self.endings[trial_id] = Ending(status, time_ms, error)

    def close(self, *, deadline_s: float) -> tuple[Unsent, ...]:
        return ()
