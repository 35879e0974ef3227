"""How a run stands, from its folder alone: for `status`, and for whoever has to know whether somebody is at work on it.

Reads whatever is there, of a run in progress, ended, killed or half copied. What cannot be read is said, not raised.
"""

import socket
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.display.go_on import resume_command, retry_command
from orchestrator.display.progress import SweepView, look, points_of, seconds_between
from orchestrator.folder.clock import now
from orchestrator.folder.lease import who_holds
from orchestrator.folder.processes import is_running
from orchestrator.folder.records import Event, Holder, PackStatus, Row, RowStatus, SavedPlan, SweepState, SweepStatus
from orchestrator.folder.run_folder import RunFolder
from trainer.errors import BadInput

T = TypeVar("T")
SILENT_S = 120.0
"""A driver writes its status every few seconds; after this long without, that is said."""


class RunState(StrEnum):
    """In a word or two."""

    NOT_STARTED = "not started"
    STARTING = "starting"
    """Its launcher lives and trains nothing yet."""
    RUNNING = "running"
    FINISHING = "finishing"
    """Its launcher lives and trains nothing any more."""
    COMPLETE = "complete"
    STOPPED = "stopped"
    CUT_OFF = "cut off"
    """Its launcher is gone without having said so."""


@dataclass(frozen=True)
class Standing:
    """A run at one moment."""

    folder: Path
    state: RunState
    holder: Holder | None
    """Who runs it now."""
    status: SweepStatus | None
    view: SweepView
    failures: tuple[tuple[str, str], ...]
    """Name and reason of each trial that failed."""
    troubles: tuple[str, ...]
    """What could not be read."""

    @property
    def is_live(self) -> bool:
        return self.holder is not None

    @property
    def go_on(self) -> str:
        """The command that does what is left; empty where nothing is, or somebody does it already."""
        if self.is_live:
            return ""
        if self.state is RunState.COMPLETE and not self.view.n_waiting and not self.view.n_stopped:
            return retry_command(self.folder) if self.view.n_failed else ""
        return resume_command(self.folder)

    @property
    def who(self) -> str:
        """The state and who is behind it, in a sentence."""
        match self.state:
            case RunState.RUNNING | RunState.STARTING | RunState.FINISHING:
                assert self.holder is not None
                return f"{self.state} ({holder_text(self.holder)}){self._silence}"
            case RunState.CUT_OFF:
                was = self.status
                pid = f", process {was.pid} on {was.host}," if was is not None and was.pid is not None else ""
                last = f"; its last word was at {moment_text(was.updated_at)}" if was is not None else ""
                return f"cut off: its launcher{pid} is gone{last}"
            case _:
                at = f" at {moment_text(self.status.updated_at)}" if self.status is not None else ""
                return f"{self.state}{at}"

    @property
    def _silence(self) -> str:
        if self.status is None or self.state is not RunState.RUNNING:
            return ""
        silent_s = seconds_between(self.status.updated_at, now())
        return f"; no word from it since {moment_text(self.status.updated_at)}" if silent_s > SILENT_S else ""

    def to_json(self) -> dict[str, Any]:
        """For scripts."""
        view = asdict(self.view)
        del view["points"]
        return {
            "run": self.folder.name,
            "folder": str(self.folder),
            "state": str(self.state),
            "launcher": self.holder.model_dump(mode="json", include={"host", "pid", "started_at"})
            if self.holder is not None
            else None,
            "updated_at": self.status.updated_at.isoformat() if self.status is not None else None,
            **view,
            "n_waiting": self.view.n_waiting,
            "failed": [{"trial": name, "why": why} for name, why in self.failures],
            "troubles": list(self.troubles),
            "go_on": self.go_on or None,
        }


class Onlooker:
    """Looks at a run again and again, and reads only what has changed."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._rows: dict[str, tuple[int, Row | str]] = {}
        """By trial: when its file was written, and what is in it or why that cannot be read."""
        self._n_events = 0

    def look(self) -> Standing:
        """Raises BadInput where there is no plan that can be read: nothing can be said of such a folder."""
        folder, troubles = self.folder, list[str]()
        plan = folder.plan()
        if plan is None:
            raise BadInput(f"{folder.path} has no plan.json: expected a run folder")
        holder = who_holds(folder)  # first: what a launcher that is gone has written is its last word
        status = _read(folder.status, troubles)
        packs = {
            pack_id: found
            for pack_id in plan.packs
            if (found := _read(lambda pack_id=pack_id: folder.pack_status(pack_id), troubles)) is not None
        }
        rows = list(self._look_at_rows(plan, troubles))
        state = state_of(status, holder)
        return Standing(
            folder=folder.path,
            state=state,
            holder=holder,
            status=status,
            view=_view(plan, packs, rows, status, is_running=state is RunState.RUNNING),
            failures=tuple((row.run_name, row.error or "") for row in rows if row.status is RowStatus.FAILED),
            troubles=tuple(troubles),
        )

    def new_events(self) -> list[Event]:
        """Those that came since the last call; none where they cannot be read."""
        try:
            events = self.folder.events()
        except BadInput:
            return []
        new, self._n_events = events[self._n_events :], len(events)
        return new

    def _look_at_rows(self, plan: SavedPlan, troubles: list[str]) -> Iterable[Row]:
        for trial_id in plan.trials:
            if trial_id not in plan.wanted:
                continue
            row = self._row(trial_id)
            if isinstance(row, str):
                troubles.append(row)
            elif row is not None:
                yield row

    def _row(self, trial_id: str) -> Row | str | None:
        try:
            written = (self.folder.path / "results" / f"{trial_id}.json").stat().st_mtime_ns
        except OSError:
            return None
        known = self._rows.get(trial_id)
        if known is not None and known[0] == written:
            return known[1]
        try:
            row = self.folder.row(trial_id)
        except BadInput as problem:
            row = str(problem)
        if row is not None:
            self._rows[trial_id] = (written, row)
        return row


def stand(folder: RunFolder) -> Standing:
    """How a run stands now. Raises BadInput where it has no plan that can be read."""
    return Onlooker(folder).look()


def state_of(status: SweepStatus | None, holder: Holder | None) -> RunState:
    """From what the driver last said and whether it lives."""
    if holder is not None:
        if status is None or status.updated_at < holder.started_at:
            return RunState.STARTING
        return RunState.RUNNING if status.state is SweepState.RUNNING else RunState.FINISHING
    if status is None:
        return RunState.NOT_STARTED
    return RunState.CUT_OFF if status.state is SweepState.RUNNING else RunState(str(status.state))


def holder_text(holder: Holder) -> str:
    """Such as `process 4711 on this machine since 14:02`."""
    where = "this machine" if holder.host == socket.gethostname() else holder.host
    return f"process {holder.pid} on {where} since {moment_text(holder.started_at)}"


def moment_text(moment: datetime) -> str:
    """The time of day here, with the day where it is not today."""
    local, today = moment.astimezone(), now().astimezone()
    return f"{local:%H:%M:%S}" if local.date() == today.date() else f"{local:%Y-%m-%d %H:%M}"


def _view(
    plan: SavedPlan, packs: dict[str, PackStatus], rows: list[Row], status: SweepStatus | None, *, is_running: bool
) -> SweepView:
    elapsed_s = seconds_between(status.started_at, now() if is_running else status.updated_at) if status else 0.0
    ended = {row.trial_id: row.status for row in rows}
    return look(plan, packs, ended, elapsed_s=elapsed_s, active=is_running, points=points_of(rows))


def _read(read: Callable[[], T], troubles: list[str]) -> T | None:
    try:
        return read()
    except BadInput as problem:
        troubles.append(str(problem))
        return None


def is_here(holder: Holder) -> bool:
    """Whether it runs on this machine, so that it can be sent a signal."""
    return holder.host == socket.gethostname() and is_running(holder.pid, holder.pid_started)
