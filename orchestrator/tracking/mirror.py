"""The thread that keeps MLflow like the run folder while a sweep runs. Training never waits for it, nor ends by it.

It takes at most a fifth of one core, and rests for at least as long as it works. While MLflow does not answer it tries
again, at first after a second, later once a minute, and says so once; when it works again it says that too.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.folder.clock import in_ms, now
from orchestrator.folder.records import SweepState
from orchestrator.tracking.address import masked
from orchestrator.tracking.copier import Copier, OutOfTime, Tell
from orchestrator.tracking.publication import Publication, new_publication
from orchestrator.tracking.tally import Behind
from orchestrator.tracking.tracked import Tracked
from orchestrator.tracking.trial_run import TrialRun

POLL_S = 1.0
REST = 4.0
"""Times as long as a pass computed, the thread rests."""
LONGEST_REST_S = 30.0
LONGEST_PAUSE_S = 60.0
CLOSING_PAUSE_S = 0.5


class Mirror:
    """One launch's copy in MLflow. Start it, run the packs, publish, close."""

    def __init__(
        self,
        sweep: Tracked,
        *,
        tell: Tell,
        poll_s: float = POLL_S,
    ) -> None:
        """`tell` hears a level ("info" or "warning") and a sentence, from the mirror's thread."""
        self._folder, self._told = sweep.folder, tell
        self._copier = Copier(sweep, tell=self._tell)
        self._poll_s = poll_s
        self._trouble, self._rest_s = "", poll_s
        self._opened, self._closing = threading.Event(), threading.Event()
        self._deadline_s = float("inf")
        self._publication: Publication | None = None
        self._more: list[TrialRun] = []
        self._thread = threading.Thread(target=self._run, name="mlflow-mirror", daemon=True)

    def start(self) -> None:
        """Returns at once. The thread imports MLflow first: not while others import, unless it is imported already."""
        self._thread.start()

    def wait_until_open(self, timeout_s: float) -> bool:
        """Whether all runs are there and noted in `runs.json`, waiting for that at most so long."""
        return self._opened.wait(timeout_s)

    def add(self, trials: Sequence[TrialRun]) -> None:
        """More trials of the same sweep. Returns at once."""
        self._more = [*self._more, *trials]  # a new list: the thread takes the old one whole

    def publish(self, state: SweepState, *, metrics: Mapping[str, float], files: Sequence[Path]) -> None:
        """What the sweep's own run shall show. Kept in the run folder until MLflow has it, which `close` sees to."""
        try:
            self._publication = new_publication(self._folder, state, time_ms=in_ms(now()), metrics=metrics, files=files)
        except Exception as problem:
            self._tell("warning", f"what the sweep came to is not shown in MLflow: {problem}")

    def close(self, deadline_s: float) -> Behind | None:
        """The rest, for at most `deadline_s` seconds; packs must have ended. Returns what MLflow has not got then."""
        self._deadline_s = time.monotonic() + deadline_s
        self._copier.deadline_s = self._deadline_s
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(deadline_s)
        try:
            return self._copier.behind(self._trouble)
        except Exception as problem:
            return Behind(0, 0, 0, files=False, reason=f"how much is missing cannot be told: {problem}")

    def _run(self) -> None:
        pause_s = failing_s = 0.0
        while True:
            closing = self._closing.wait(pause_s)
            if closing and self._copier.run.publication is None:
                stopped = Publication(state=SweepState.STOPPED, time_ms=in_ms(now()))
                self._copier.run.publication = self._publication or stopped
            worked = self._try(ended=closing)
            if closing and (worked or time.monotonic() + CLOSING_PAUSE_S >= self._deadline_s):
                return
            if closing:
                time.sleep(CLOSING_PAUSE_S)
            elif worked:
                failing_s, pause_s = 0.0, self._rest_s
            else:
                failing_s = pause_s = next_pause_s(failing_s, self._poll_s)

    def _try(self, *, ended: bool) -> bool:
        """Whether a pass worked. Whatever the client, the database or the network raises: training goes on."""
        try:
            if self._more:
                more, self._more = self._more, []
                self._copier.add(more)
            if not self._copier.is_open:
                self._copier.open()
                self._opened.set()
            began_s, computed_s = time.monotonic(), time.thread_time()
            self._copier.copy(ended=ended)
            self._rest_s = rest_s(
                computed_s=time.thread_time() - computed_s, took_s=time.monotonic() - began_s, poll_s=self._poll_s
            )
        except OutOfTime:
            return False
        except Exception as problem:
            reason = masked(str(problem) or type(problem).__name__)
            if not self._trouble:
                self._tell(
                    "warning",
                    f"MLflow is out of reach; training goes on and MLflow gets everything later: {reason}",
                )
            self._trouble = reason
            return False
        if self._trouble:
            self._trouble = ""
            self._tell("info", "MLflow is back and has got everything so far")
        return True

    def _tell(self, level: str, text: str) -> None:
        try:
            self._told(level, masked(text))
        except Exception:  # who listens is no reason to stop either
            return


def rest_s(*, computed_s: float, took_s: float, poll_s: float = POLL_S) -> float:
    """How long to rest after a pass: in `took_s` are the waits for MLflow, which may need this machine too."""
    return min(LONGEST_REST_S, max(poll_s, REST * computed_s, took_s))


def next_pause_s(before_s: float, poll_s: float = POLL_S) -> float:
    """How long to wait after a pass that failed, when it was so long the last time; 0 after one that worked."""
    return min(LONGEST_PAUSE_S, max(poll_s, 2 * before_s))
