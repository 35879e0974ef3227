"""Watches the run folder of a running sweep from a thread: events, status, the frontier so far, and the screen.

Learns everything from files that workers write, so it sees Ray's workers and this process's alike. Nothing that goes
wrong here stops the sweep.
"""

import faulthandler
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from orchestrator.display.progress import SweepView, look, points_of
from orchestrator.display.screen import Screen
from orchestrator.folder.clock import now
from orchestrator.folder.records import Event, PackState, PackStatus, Row, RowStatus, SavedPlan, SweepState, SweepStatus
from orchestrator.folder.run_folder import RunFolder
from orchestrator.running.hung import HungWatch
from orchestrator.running.news import Level, new_event, pack_news, row_news
from orchestrator.running.stopping import StopRequest
from trainer.errors import BadInput

POLL_S = 0.5
MOST_OF_A_CPU = 0.05
"""That looking may take: with very many packs it looks less often."""
STATUS_EVERY_S = 2.0
EXPORT_EVERY_S = 10.0
STOPPING = "stopping after the current step; finished trials are kept; press again to stop now"


class Monitor:
    """One launch's eyes. Start it, run the packs, close it; the last look is taken on closing."""

    def __init__(
        self,
        folder: RunFolder,
        plan: SavedPlan,
        *,
        screen: Screen,
        stop: StopRequest,
        kept: Iterable[Row],
        export: Callable[[], object],
        hung_after_s: float = 900.0,
    ) -> None:
        """`kept`: rows of earlier launches that stay. `export` writes the frontier of the rows so far.

        What is in the folder by now is of earlier launches, whatever the clock says; all else is news.
        """
        self._folder, self._plan, self._screen, self._export = folder, plan, screen, export
        self._stop, self._stop_said = stop, False
        self._started = now()
        self._clock_s = time.monotonic()
        self.rows: dict[str, Row] = {row.trial_id: row for row in kept}
        self._states = dict.fromkeys(plan.packs, PackState.WAITING)
        self._old_statuses = {pack_id: self._status_of(pack_id) for pack_id in plan.packs}
        self._old_rows = {trial_id: self._row_of(trial_id) for trial_id in plan.trials}
        self._passed_on = {_key(event) for event in folder.events()}
        self._hung = HungWatch(hung_after_s)
        self._statuses: dict[str, PackStatus] = {}
        self._unexported = False
        self._exported_s = self._status_s = float("-inf")
        self._troubles: set[str] = set()
        self._closing = threading.Event()
        self._lock = threading.Lock()  # events come from this thread and from the main one
        self._looking = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """A last look, then nothing more."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join()
        self.look()

    def look(self) -> None:
        """See what is new in the run folder, now."""
        self._look(exporting=False)

    def replan(self, plan: SavedPlan) -> None:
        """Packs were split. What they had to say until then is passed on first."""
        with self._looking:
            self._look_around(exporting=False)
            self._plan = plan
            self._states = {pack_id: self._states.get(pack_id, PackState.WAITING) for pack_id in plan.packs}
            self._statuses = {pack_id: status for pack_id, status in self._statuses.items() if pack_id in plan.packs}

    def event(
        self,
        event: str,
        message: str,
        *,
        level: Level = "info",
        pack_id: str | None = None,
        trial_id: str | None = None,
        **fields: float | str | None,
    ) -> None:
        """Something happened: to `events.jsonl` and to the screen."""
        self.tell(new_event(event, message, level=level, pack_id=pack_id, trial_id=trial_id, **fields))

    def tell(self, news: Event) -> None:
        """The same, of an event that is made already."""
        with self._lock:
            with suppress(Exception):
                self._folder.add_event(news)
            self._screen.event(news)

    def write_status(self, state: SweepState) -> None:
        """How the sweep stands, for readers of the folder."""
        view = self._view()
        self._folder.write_status(
            SweepStatus(
                sweep_id=self._plan.sweep_id,
                state=state,
                n_trials=view.n_trials,
                n_done=view.n_done,
                n_failed=view.n_failed,
                n_stopped=view.n_stopped,
                n_running=view.n_running if state is SweepState.RUNNING else 0,
                n_dominated=view.n_dominated,
                fraction=view.fraction,
                eta_s=view.eta_s if state is SweepState.RUNNING else None,
                eta_high_s=view.eta_high_s if state is SweepState.RUNNING else None,
                packs=self._states,
                pid=os.getpid() if state is SweepState.RUNNING else None,
                host=socket.gethostname() if state is SweepState.RUNNING else None,
                started_at=self._started,
                updated_at=now(),
            )
        )
        self._status_s = time.monotonic()

    def _run(self) -> None:
        wait_s = POLL_S
        while not self._closing.wait(wait_s):
            begun_s = time.thread_time()
            try:
                self._look(exporting=True)
            except Exception as trouble:  # a full disk or a torn file: the sweep goes on, and the next look may be fine
                self._note(trouble)
            wait_s = max(POLL_S, (time.thread_time() - begun_s) / MOST_OF_A_CPU)

    def _look(self, *, exporting: bool) -> None:
        with self._looking:
            self._look_around(exporting=exporting)

    def _look_around(self, *, exporting: bool) -> None:
        self._stop.see_file()
        if self._stop.asked and not self._stop_said:
            self._stop_said = True
            # Said from here, not by the signal's handler, which may interrupt somebody in the middle of a line.
            self.event("stop_asked", STOPPING, level="warning")
        # What is done does not change any more: only the others are read.
        open_packs = [pack_id for pack_id, state in self._states.items() if state is not PackState.DONE]
        changed = self._new_states(open_packs)
        for status in changed:
            if status.state is PackState.RUNNING:
                self._say_state(status)
        for pack_id in open_packs:
            self._pass_on(pack_id)
        for trial_id in self._plan.trials:  # a worker writes rows before it says that it is done
            if trial_id not in self.rows:
                self._see_row(trial_id)
        for status in changed:
            if status.state is not PackState.RUNNING:
                self._say_state(status)
        self._end_hung()
        self._screen.update(self._view())
        moment = time.monotonic()
        if exporting and moment - self._status_s >= STATUS_EVERY_S:
            self.write_status(SweepState.RUNNING)
        if exporting and self._unexported and moment - self._exported_s >= EXPORT_EVERY_S:
            self._unexported = False
            self._export()
            self._exported_s = time.monotonic()

    def _new_states(self, pack_ids: Iterable[str]) -> list[PackStatus]:
        """Statuses of those packs that are in another state than at the last look."""
        changed: list[PackStatus] = []
        for pack_id in pack_ids:
            before = self._states[pack_id]
            status = self._status_of(pack_id)
            if status is not None and status != self._old_statuses.get(pack_id):
                self._statuses[pack_id] = status
                changed += [status] if status.state is not before else []
        self._states |= {status.pack_id: status.state for status in changed}
        return changed

    def _status_of(self, pack_id: str) -> PackStatus | None:
        """None where there is none, or none that can be read."""
        try:
            return self._folder.pack_status(pack_id)
        except BadInput:
            return None

    def _row_of(self, trial_id: str) -> Row | None:
        try:
            return self._folder.row(trial_id)
        except BadInput:  # the next launch says so, and has it made again
            return None

    def _pass_on(self, pack_id: str) -> None:
        """What workers have to say, also those of a launch that was killed before it could."""
        for event in self._folder.pack_events(pack_id):
            if (key := _key(event)) not in self._passed_on:
                self._passed_on.add(key)
                self.tell(event)

    def _end_hung(self) -> None:
        for status, was_ended in self._hung.look(self._statuses):
            what = "its worker is ended" if was_ended else self._hung_here(status)
            text = f"pack {status.pack_id[:6]} has done nothing for long at step {status.step}: {what}"
            self.event("pack_hung", text, level="warning", pack_id=status.pack_id, step=status.step)

    def _hung_here(self, status: PackStatus) -> str:
        """What can be done where training and driver are one process; it says where it hangs."""
        if (status.pid, status.host) != (os.getpid(), socket.gethostname()):
            return "its worker cannot be ended from here"
        log = self._folder.pack_log(status.pack_id)
        with suppress(OSError), log.open("a") as file:
            faulthandler.dump_traceback(file, all_threads=True)
        return (
            f"it trains in this process, whose stacks are in {log} now. If it does not go on, end it "
            f"(kill -9 {status.pid}) and give the same command again"
        )

    def _say_state(self, status: PackStatus) -> None:
        if (news := pack_news(status, self._plan, self.rows)) is not None:
            self.tell(news)

    def _see_row(self, trial_id: str) -> None:
        row = self._row_of(trial_id)
        if row is None or row == self._old_rows.get(trial_id):
            return
        self.rows[trial_id] = row
        self._unexported |= row.status is RowStatus.DONE
        if (news := row_news(row)) is not None:
            self.tell(news)

    def _view(self) -> SweepView:
        ended = {trial_id: row.status for trial_id, row in self.rows.items()}
        elapsed_s = time.monotonic() - self._clock_s
        return look(self._plan, self._statuses, ended, elapsed_s=elapsed_s, points=points_of(self.rows.values()))

    def _note(self, trouble: Exception) -> None:
        """Say each trouble once."""
        text = str(trouble) or type(trouble).__name__
        if text not in self._troubles:
            self._troubles.add(text)
            self.event("trouble", f"while watching the sweep: {text}", level="warning")


def _key(event: Event) -> tuple[object, ...]:
    """By which an event that was told already is known."""
    return event.time, event.event, event.pack_id, event.message
