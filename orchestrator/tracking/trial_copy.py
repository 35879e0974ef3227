"""One trial's way into MLflow: its curves as they grow, then how it ended. Knows nothing of other trials."""

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.folder.clock import in_ms
from orchestrator.folder.records import Row, RowStatus
from orchestrator.folder.run_folder import RunFolder
from orchestrator.tracking.cursor import Sent
from orchestrator.tracking.points import RUN_STATUS, final_points, in_batches, send_ending, send_points, send_start
from orchestrator.tracking.sweep_runs import Child
from orchestrator.tracking.tail import START, JournalTail
from orchestrator.tracking.tally import Done
from orchestrator.tracking.trial_run import TrialRun
from trainer.errors import BadInput

if TYPE_CHECKING:
    from mlflow import MlflowClient

Stamp = tuple[int, ...] | None
"""What changes when a row's file is written; None while there is none."""
LISTS = "lists.json"
"""The file on a run for its metrics that are lists."""


class Way(NamedTuple):
    """What all trials share on a pass."""

    client: "MlflowClient"
    done: Done
    warn: Callable[[str], None]
    """Tells people, each sentence once."""
    put: Callable[[Callable[[], object]], bool]
    """Sends a file; False where that did not work."""
    acknowledged: Callable[[], None]
    """To be called after each call that MLflow has answered."""
    ended: bool
    """Nobody trains any more: what has no row was cut off."""


class TrialCopy:
    """Where one trial stands, here and there."""

    def __init__(self, folder: RunFolder, about: TrialRun, sent: Sent | None) -> None:
        """`sent`: what a run had got by the cursor; whether that is its run is known when `take` is called."""
        self.about, self.sent, self.row = about, sent, None
        self.row: Row | None
        self.refused_until_s = float("-inf")
        """On the monotonic clock: MLflow is not to be bothered with it before."""
        self._folder, self._journal = folder, folder.journal(about.trial_id)
        self._tail = JournalTail(self._journal, START if sent is None else sent.place)
        self._end_ms: int | None = None
        self._looked = 0
        self._stamp: Stamp = None
        self._row_hash = ""
        self._unreadable_row = ""

    @property
    def run_id(self) -> str:
        """Once it has one."""
        assert self.sent is not None
        return self.sent.run_id

    def take(self, child: Child) -> None:
        """That is its run. MLflow may have lost what the cursor says that it has: its database may be an older one."""
        final = [point.time_ms for key, point in child.latest.items() if key.startswith("final/")]
        curves = [point.time_ms for key, point in child.latest.items() if not key.startswith("final/")]
        if self.sent is not None and self.sent.run_id == child.run_id:
            sent = self.sent.model_copy(update={"final_ms": max(final, default=0)})
        else:  # it is not known what was sent
            sent = Sent(run_id=child.run_id, final_ms=max(final, default=0), is_doubtful=bool(child.latest))
        if sent.newest_ms > max(curves, default=0):
            sent = Sent(run_id=child.run_id, final_ms=sent.final_ms, is_doubtful=sent.is_doubtful)
        if not final:
            sent = sent.model_copy(update={"row": ""})
        self.sent, self._end_ms = sent.model_copy(update={"status": child.status}), child.end_ms
        if self._tail.place != sent.place:
            self._tail = JournalTail(self._journal, sent.place)

    def start_over(self) -> None:
        """Send everything once more."""
        self.sent = Sent(run_id=self.run_id, status=self._sent.status)
        self._tail = JournalTail(self._journal)

    @property
    def is_doubtful(self) -> bool:
        """Whether its run may have points that the run folder has not."""
        return self._sent.is_doubtful

    def believe(self) -> None:
        """It was looked at, and has no others."""
        self.sent = self._sent.model_copy(update={"is_doubtful": False})

    @property
    def has_lists(self) -> bool:
        """Whether its run has got the file of lists, as far as is known."""
        return bool(self._sent.lists)

    def forget_lists(self) -> None:
        """Send that file once more."""
        self.sent = self._sent.model_copy(update={"lists": ""})

    def copy(self, way: Way, size: int, stamp: Stamp) -> None:
        """Send what is new. `size`: of the journal."""
        self._look_at_row(stamp)
        if self._unreadable_row:
            way.warn(f"MLflow is not told how {self.about.run_name} ended: {self._unreadable_row}")
        is_new = self.row is not None and self._row_hash != self._sent.row
        # A row comes after the whole journal. Without one, what was added since the last look may be taken back yet:
        # a worker that runs into a full disk does so.
        limit = size if way.ended or is_new else min(size, self._looked)
        self._looked = size
        if limit != self._sent.n_bytes:
            self._copy_curves(way, limit)
        if self.row is not None and self._target(self._sent.newest_ms, way) != "RUNNING":
            self._copy_ending(way, self.row)
        elif self._target(self._sent.newest_ms, way) == "KILLED" != self._sent.status:
            self._end(way, "KILLED", self._sent.newest_ms)

    def missing(self, size: int, stamp: Stamp) -> tuple[int, bool]:
        """Lines of the journal that its run has not got, and whether it has not been told how the trial ended."""
        self._look_at_row(stamp)
        sent = self.sent
        n_lines = _count_lines(self._journal, 0 if sent is None else sent.n_bytes, size)
        return n_lines, self.row is not None and (sent is None or sent.row != self._row_hash)

    @property
    def _sent(self) -> Sent:
        assert self.sent is not None
        return self.sent

    def _copy_curves(self, way: Way, limit: int) -> None:
        for batch in self._tail.batches(limit):
            if self._target(batch.end.newest_ms, way) == "RUNNING" != self._sent.status:
                send_start(way.client, self.run_id)
                self._acknowledge(way, status="RUNNING")
            if batch.points:
                send_points(way.client, self.run_id, batch.points)
            way.done.points += len(batch.points)
            self._tail.acknowledge(batch)
            self._acknowledge(way, **batch.end._asdict())
        if self._tail.was_replaced:
            self._tail.was_replaced = False
            self._acknowledge(way, is_doubtful=True)
        if self._tail.n_unreadable:
            way.warn(f"the curves of {self.about.run_name} have lines that cannot be read")

    def _copy_ending(self, way: Way, row: Row) -> None:
        time_ms, status = in_ms(row.finished_at), RUN_STATUS[row.status]
        if self._sent.row != self._row_hash:
            finals = final_points(time_ms, row.metrics)
            if finals and self._sent.final_ms not in (0, time_ms):
                self._acknowledge(way, is_doubtful=True)
            for points in in_batches(finals):
                send_points(way.client, self.run_id, points)
            if finals:
                self._acknowledge(way, final_ms=time_ms)
        if (self._sent.row, self._sent.status, self._end_ms) != (self._row_hash, status, time_ms):
            self._end(way, status, time_ms, error=row.error or "", row=self._row_hash)
        lists = {name: value for name, value in row.metrics.items() if isinstance(value, list)}
        # They have no place in a metric: one number per later block, histograms.
        is_due = bool(lists) and self._sent.lists != self._row_hash
        if is_due and way.put(lambda: way.client.log_dict(self.run_id, lists, LISTS)):
            way.done.files += 1
            self._acknowledge(way, lists=self._row_hash)

    def _end(self, way: Way, status: str, time_ms: int, *, error: str = "", row: str = "") -> None:
        send_ending(way.client, self.run_id, status, time_ms=time_ms, error=error)
        self._end_ms = time_ms
        way.done.endings += 1
        self._acknowledge(way, status=status, row=row)

    def _acknowledge(self, way: Way, **what: object) -> None:
        self.sent = self._sent.model_copy(update=what)
        way.acknowledged()

    def _target(self, newest_ms: int, way: Way) -> str:
        """What the run's status should be. A trial that was cut off or failed runs again once newer points come."""
        row = self.row
        if row is not None:
            runs_again = row.status is not RowStatus.DONE and newest_ms > in_ms(row.finished_at) and not way.ended
            return "RUNNING" if runs_again else RUN_STATUS[row.status]
        if not newest_ms:
            return "SCHEDULED"
        return "KILLED" if way.ended else "RUNNING"

    def _look_at_row(self, stamp: Stamp) -> None:
        if stamp == self._stamp:
            return
        self._unreadable_row = ""
        try:
            self.row = self._folder.row(self.about.trial_id) if stamp is not None else None
        except BadInput as problem:
            self.row, self._unreadable_row = None, str(problem)
        text = self.row.model_dump_json() if self.row is not None else ""
        self._row_hash = hashlib.sha256(text.encode()).hexdigest()[:16] if text else ""
        self._stamp = stamp


def sizes_and_stamps(folder: RunFolder) -> tuple[Mapping[str, int], Mapping[str, Stamp]]:
    """Bytes of each journal, and what changes when a row is written, by trial: all trials at one look."""
    journals, rows = _stats(folder.path / "journal", ".jsonl"), _stats(folder.path / "results", ".json")
    stamps = {id_: (stat.st_mtime_ns, stat.st_size, stat.st_ino) for id_, stat in rows.items()}
    return {id_: stat.st_size for id_, stat in journals.items()}, stamps


def _stats(folder: Path, suffix: str) -> dict[str, os.stat_result]:
    """Of the files with that suffix, by name without it."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name.removesuffix(suffix): entry.stat() for entry in entries if entry.name.endswith(suffix)}
    except FileNotFoundError:
        return {}


def _count_lines(path: Path, start: int, end: int) -> int:
    """Lines between two places."""
    if start >= end:
        return 0
    try:
        with path.open("rb") as file:
            file.seek(start)
            return sum(1 for line in file if line.endswith(b"\n"))
    except OSError:
        return 0
