"""What a worker writes about its pack: status, curves, rows, weights. Knows files, no model and no training.

Every write asks the fence first, so that of two attempts at a pack only the newer writes. Points of curves wait in
`journals.py`; before a checkpoint, a row or the end they are on the disk, so that whatever follows from them never is
without them.
"""

import os
import socket
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Literal, TypeVar

from orchestrator.folder import processes
from orchestrator.folder.clock import in_ms, now
from orchestrator.folder.elements import ShownElements
from orchestrator.folder.files import append_lines
from orchestrator.folder.records import (
    CurvePoint,
    Dominated,
    Event,
    Facts,
    PackState,
    PackStatus,
    Row,
    RowStatus,
    SavedPlan,
    Versions,
)
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.fence import Fence
from orchestrator.packs.jobs import PackJob
from orchestrator.packs.journals import Journals
from orchestrator.packs.patience import Patience
from trainer.errors import EnvironmentProblem
from trainer.pack import TrialResult

Metrics = Mapping[str, float | list[float]]
T = TypeVar("T")

STATUS_EVERY_S = 1.0
SPEED_OVER_S = 20.0
"""Tokens per second are those of about this long."""


class PackRecorder:
    """The files of one pack, for one attempt at it."""

    def __init__(
        self,
        job: PackJob,
        plan: SavedPlan,
        *,
        folder: RunFolder,
        fence: Fence,
        versions: Versions,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._job, self._plan, self._folder, self._fence = job, plan, folder, fence
        self._versions = versions
        self._patience = Patience(say=self._wait_said, stop=stop, patience_s=min(600.0, 0.6 * job.hung_after_s))
        self._trials = {config.trial_id: config for config in plan.trials_of(job.pack_id)}
        self._open = dict.fromkeys(job.trial_ids)  # trials without a row, in order
        self._latest: dict[str, dict[str, float | None]] = {}
        self._speed: deque[tuple[float, int]] = deque()
        self._written_s = float("-inf")
        first = next(iter(self._trials.values()))
        self._tokens_per_step, self._n_steps = first.tokens_per_step, first.n_steps
        self._step = 0
        self.journals = Journals(folder, self._trials, write=self.write)
        for trial_id, n_lost in self.journals.n_lost.items():
            name = plan.run_names[trial_id]
            self.event("journal_damaged", f"left out {n_lost} lines of the journal of {name} that cannot be read")
        self.started_at = now()
        """Of the first attempt."""
        self.write_status(PackState.RUNNING)

    @property
    def open_trials(self) -> list[str]:
        """Those that have not ended."""
        return list(self._open)

    @property
    def waited_s(self) -> float:
        """Seconds that writes have waited for room on the disk."""
        return self._patience.waited_s

    @property
    def step(self) -> int:
        """Steps done."""
        return self._step

    def latest(self, trial_id: str) -> Mapping[str, float | None]:
        """The newest points of its curves, of this attempt."""
        return self._latest.get(trial_id, {})

    def goes_on(self, step: int, started_at: datetime) -> None:
        """An earlier attempt, begun then, had come to this step."""
        self._step, self.started_at = step, started_at

    def at_step(self, step: int, *, is_last: bool = False) -> None:
        """`step` steps are done. Writes the status if the last one is a second old, or no more steps follow."""
        self._step = step
        moment = time.monotonic()
        self._speed.append((moment, step))
        while len(self._speed) > 2 and moment - self._speed[1][0] > SPEED_OVER_S:
            self._speed.popleft()
        self.beat(at_once=is_last)

    def beat(self, *, at_once: bool = False) -> None:
        """The worker is alive: says so in the status, and writes points that have waited long enough."""
        if at_once or time.monotonic() - self._written_s >= STATUS_EVERY_S:
            self.write_status(PackState.RUNNING)
        if not self._patience.is_waiting:
            self.journals.flush_if_due()

    def curves(self, step: int, tokens: int, metrics: Mapping[str, Metrics]) -> None:
        """A point of each trial's curves, by trial. Lists are left out."""
        time_ms = in_ms(now())
        for trial_id, values in metrics.items():
            if trial_id not in self._open:
                continue
            numbers: dict[str, float | None] = {
                name: float(value) for name, value in values.items() if not isinstance(value, list)
            }
            self.journals.add(trial_id, CurvePoint(step=step, tokens=tokens, time_ms=time_ms, metrics=numbers))
            self._latest.setdefault(trial_id, {}).update(numbers)
        self.beat()

    def write(self, write: Callable[[], T]) -> T:
        """Something that has to be written, once there is room. Raises Fenced, and DiskProblem where there is none."""

        def fenced() -> T:
            self._fence.check()
            return write()

        return self._patience(fenced)

    def done(
        self,
        result: TrialResult,
        trial_id: str,
        *,
        facts: Facts,
        cost: Mapping[str, float],
        peak_memory_bytes: float,
        elements: ShownElements | None = None,
    ) -> None:
        """The trial is trained and measured: its points, its weights, its elements, its row, in this order."""
        if trial_id not in self._open:
            return
        self.journals.flush()
        config = self._trials[trial_id]
        sae_sha256 = self.write(lambda: self._folder.write_sae(trial_id, result.sae, config))
        if elements is not None:
            self.write(lambda: self._folder.write_elements(elements))
        metrics = result.metrics
        self._end(
            trial_id,
            RowStatus.DONE,
            facts=facts,
            metrics={name: list(value) if isinstance(value, list) else float(value) for name, value in metrics.items()},
            cost={**cost, "peak_memory_bytes": peak_memory_bytes},
            sae_sha256=sae_sha256,
        )

    def failed(self, trial_id: str, why: str) -> None:
        """The trial has no result and never will have, run as it is."""
        if trial_id in self._open:
            self.say(f"{self._plan.run_names[trial_id]} failed: {why}")
            self.journals.flush()
            self._end(trial_id, RowStatus.FAILED, error=why)

    def dominated(self, trial_id: str, why: Dominated, facts: Facts) -> None:
        """The trial is stopped early, for good: from here on that is on the disk."""
        if trial_id in self._open:
            self.say(f"{self._plan.run_names[trial_id]} is stopped: {why.text}")
            self.journals.flush()
            self._end(trial_id, RowStatus.DOMINATED, error=why.text, facts=facts, dominated=why)

    def stopped(self, why: str) -> None:
        """What has not ended was cut off."""
        for trial_id in self.open_trials:
            self._end(trial_id, RowStatus.STOPPED, error=why)

    def say(self, text: str) -> None:
        """A line for the pack's log."""
        with suppress(EnvironmentProblem):
            append_lines(self._folder.pack_log(self._job.pack_id), [f"{now().isoformat()} {text}"])

    def say_traceback(self, error: BaseException) -> None:
        """Where an error came from, for the pack's log."""
        self.say("".join(traceback.format_exception(error)).rstrip())

    def event(self, kind: str, message: str, *, level: Literal["info", "warning"] = "warning", **fields: float) -> None:
        """Something that a person may want to know. Never in the way of anything."""
        text = f"pack {self._job.pack_id[:6]} {message}"
        self.say(text)
        with suppress(EnvironmentProblem):
            self._folder.add_pack_event(
                Event(
                    time=now(),
                    level=level,
                    event=kind,
                    message=text,
                    pack_id=self._job.pack_id,
                    fields={"attempt": self._fence.attempt, **fields},
                )
            )

    def write_status(self, state: PackState, error: str | None = None) -> None:
        """Raises Fenced. A disk that is full is no matter here."""
        self._written_s = time.monotonic()
        self._fence.check()
        with suppress(EnvironmentProblem):
            self._folder.write_pack_status(
                PackStatus(
                    pack_id=self._job.pack_id,
                    state=state,
                    trial_ids=self._job.trial_ids,
                    step=self._step,
                    n_steps=self._n_steps,
                    tokens_per_s=self._tokens_per_s(),
                    attempt=self._fence.attempt,
                    pid=os.getpid(),
                    pid_started=processes.started(os.getpid()),
                    host=socket.gethostname(),
                    latest=self._latest,
                    error=error,
                    updated_at=now(),
                )
            )

    def _wait_said(self, kind: str, message: str) -> None:
        self.event(kind, message)

    def _tokens_per_s(self) -> float | None:
        if len(self._speed) < 2:
            return None
        (start_s, first), (end_s, last) = self._speed[0], self._speed[-1]
        return (last - first) * self._tokens_per_step / (end_s - start_s) if end_s > start_s else None

    def _end(
        self,
        trial_id: str,
        status: RowStatus,
        *,
        error: str | None = None,
        facts: Facts | None = None,
        metrics: dict[str, float | list[float | None] | None] | None = None,
        cost: dict[str, float | None] | None = None,
        sae_sha256: str | None = None,
        dominated: Dominated | None = None,
    ) -> None:
        row = Row(
            trial_id=trial_id,
            run_name=self._plan.run_names[trial_id],
            pack_id=self._job.pack_id,
            status=status,
            error=error,
            config=self._trials[trial_id],
            facts=facts,
            metrics=dict(metrics or {}),
            cost=dict(cost or {}),
            versions=self._versions,
            started_at=self.started_at,
            finished_at=now(),
            sae_sha256=sae_sha256,
            journal_sha256=self._folder.journal_sha256(trial_id) if status is not RowStatus.STOPPED else None,
            dominated=dominated,
        )
        self.write(lambda: self._folder.write_row(row))
        self._open.pop(trial_id, None)
        numbers = {name: value for name, value in row.metrics.items() if isinstance(value, float)}
        self._latest.setdefault(trial_id, {}).update(numbers)
