"""What a worker writes about its pack: status, curves, rows, weights, and the same numbers to MLflow.

Knows files and loggers, no model and no training. Each time is read once and goes the same way everywhere.
"""

import os
import socket
import time
import traceback
from collections import deque
from collections.abc import Mapping

from orchestrator.files import append_lines
from orchestrator.jobs import PackJob, in_ms, now
from orchestrator.records import CurvePoint, Facts, PackState, PackStatus, Row, RowStatus, Versions
from orchestrator.run_folder import RunFolder
from orchestrator.tracking import TrialLogger
from trainer.config import TrialConfig

Metrics = Mapping[str, float | list[float]]

STATUS_EVERY_S = 1.0
SPEED_OVER_S = 20.0
"""Tokens per second are those of about this long."""


class PackRecorder:
    """The files of one pack, and its trials' place in MLflow. One per attempt; starts with empty curves."""

    def __init__(
        self,
        job: PackJob,
        trials: Mapping[str, TrialConfig],
        *,
        run_names: Mapping[str, str],
        folder: RunFolder,
        logger: TrialLogger,
        versions: Versions,
    ) -> None:
        self._job, self._trials, self._folder, self._logger = job, trials, folder, logger
        self._run_names = run_names
        self._versions = versions
        self._started = now()
        self._open = dict.fromkeys(trials)  # trials without a row, in order
        self._latest: dict[str, dict[str, float | None]] = {}
        self._speed: deque[tuple[float, int]] = deque()
        self._written_s = float("-inf")
        self._tokens_per_step = next(iter(trials.values())).tokens_per_step
        self._n_steps = next(iter(trials.values())).n_steps
        self._step = 0
        for trial_id in trials:
            folder.clear_curve(trial_id)
        self.write_status(PackState.RUNNING)

    @property
    def open_trials(self) -> list[str]:
        """Those that have not ended."""
        return list(self._open)

    @property
    def step(self) -> int:
        """Steps done."""
        return self._step

    def at_step(self, step: int, *, is_last: bool = False) -> None:
        """`step` steps are done. Writes the status if the last one is a second old, or no more steps follow."""
        self._step = step
        moment = time.monotonic()
        self._speed.append((moment, step))
        while len(self._speed) > 2 and moment - self._speed[1][0] > SPEED_OVER_S:
            self._speed.popleft()
        if is_last or moment - self._written_s >= STATUS_EVERY_S:
            self.write_status(PackState.RUNNING)

    def curves(self, step: int, tokens: int, metrics: Mapping[str, Metrics]) -> None:
        """A point of each trial's curves, by trial. Lists are left out."""
        time_ms = in_ms(now())
        for trial_id, values in metrics.items():
            numbers: dict[str, float | None] = {
                name: float(value) for name, value in values.items() if not isinstance(value, list)
            }
            self._folder.add_curve_points(
                trial_id, [CurvePoint(step=step, tokens=tokens, time_ms=time_ms, metrics=numbers)]
            )
            self._logger.log(trial_id, step, time_ms, numbers)
            self._latest.setdefault(trial_id, {}).update(numbers)
        if time.monotonic() - self._written_s >= STATUS_EVERY_S:
            self.write_status(PackState.RUNNING)

    def done(
        self, trial_id: str, *, facts: Facts, metrics: Metrics, cost: Mapping[str, float], peak_memory_bytes: float
    ) -> None:
        """The trial is trained and measured; its weights are written already."""
        self._end(
            trial_id,
            RowStatus.DONE,
            facts=facts,
            metrics={name: list(value) if isinstance(value, list) else float(value) for name, value in metrics.items()},
            cost={**cost, "peak_memory_bytes": peak_memory_bytes},
        )

    def failed(self, trial_id: str, why: str) -> None:
        """The trial has no result and never will have, run as it is."""
        self.say(f"{self._run_names[trial_id]} failed: {why}")
        self._end(trial_id, RowStatus.FAILED, error=why)

    def stopped(self, trial_id: str, why: str) -> None:
        """The trial was cut off."""
        self._end(trial_id, RowStatus.STOPPED, error=why)

    def say(self, text: str) -> None:
        """A line for the pack's log."""
        append_lines(self._folder.pack_log(self._job.pack_id), [f"{now().isoformat()} {text}"])

    def say_traceback(self, error: BaseException) -> None:
        """Where an error came from, for the pack's log."""
        self.say("".join(traceback.format_exception(error)).rstrip())

    def write_status(self, state: PackState, error: str | None = None) -> None:
        self._written_s = time.monotonic()
        self._folder.write_pack_status(
            PackStatus(
                pack_id=self._job.pack_id,
                state=state,
                trial_ids=list(self._trials),
                step=self._step,
                n_steps=self._n_steps,
                tokens_per_s=self._tokens_per_s(),
                pid=os.getpid(),
                host=socket.gethostname(),
                latest=self._latest,
                error=error,
                updated_at=now(),
            )
        )

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
    ) -> None:
        """Write the row, then tell MLflow."""
        row = Row(
            trial_id=trial_id,
            run_name=self._run_names[trial_id],
            pack_id=self._job.pack_id,
            status=status,
            error=error,
            config=self._trials[trial_id],
            facts=facts,
            metrics=dict(metrics or {}),
            cost=dict(cost or {}),
            versions=self._versions,
            started_at=self._started,
            finished_at=now(),
        )
        self._folder.write_row(row)
        self._open.pop(trial_id, None)
        numbers = {name: value for name, value in row.metrics.items() if isinstance(value, float)}
        self._latest.setdefault(trial_id, {}).update(numbers)
        self._logger.finish(trial_id, status, time_ms=in_ms(row.finished_at), metrics=row.metrics, error=error or "")
