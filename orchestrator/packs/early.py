"""Trials of a pack that are stopped early because others are better (`frontier.stop_dominated`).

Who is done by when depends on how fast things went, so the same question asked again may get another answer. Therefore:

- A verdict is written down as the trial's row before anything follows from it. An attempt that goes on from an earlier
  checkpoint finds the row, asks nobody, and stops the trial at the very step.
- That a trial may go on is written down too: its curve has points beyond that step. There it is not asked again.
"""

from collections.abc import Callable
from typing import Protocol

from orchestrator.folder.records import Dominated, Facts
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.dominance import Judge
from orchestrator.packs.jobs import PackJob
from orchestrator.packs.recorder import PackRecorder
from trainer.config import TrialConfig
from trainer.errors import BadInput
from trainer.faults import fault_point
from trainer.pack import Pack


class At(Protocol):
    """What is needed of an attempt at a pack."""

    @property
    def job(self) -> PackJob: ...
    @property
    def folder(self) -> RunFolder: ...
    @property
    def recorder(self) -> PackRecorder: ...


class EarlyStops:
    """Of one attempt."""

    def __init__(
        self, attempt: At, pack: Pack, stopped: dict[str, Dominated], facts: Callable[[TrialConfig], Facts]
    ) -> None:
        """`stopped`: those of the checkpoint that the attempt goes on from; others are added to it."""
        self._recorder, self._pack, self._stopped, self._facts = attempt.recorder, pack, stopped, facts
        self._configs = {config.trial_id: config for config in pack.trials}
        self._trained = {trial_id for bank in pack.trial_ids for trial_id in bank}
        job = attempt.job
        margin = job.stop_dominated
        self._judge = None if margin is None else Judge(attempt.folder, job.objectives, margin)
        self._to_come = dict(_of_rows(attempt.folder, [*self._configs]))
        for trial_id, why in stopped.items():
            if trial_id in self._configs:  # its row may have been damaged since
                self._recorder.dominated(trial_id, why, self._facts_then(trial_id, why))
        self.replay(pack.state.step)

    def replay(self, step: int) -> None:
        """What was decided by an earlier attempt at this step."""
        for trial_id, why in list(self._to_come.items()):
            if why.step <= step:
                self._stop(trial_id, self._to_come.pop(trial_id))

    def judge(self, step: int) -> None:
        """After an evaluation."""
        if self._judge is None:
            return
        for trial_id in self._recorder.open_trials:
            if self._recorder.journals.went_beyond(trial_id, step):
                continue
            config, latest = self._configs[trial_id], self._recorder.latest(trial_id)
            why = self._judge.verdict(config, step, latest, eval_hash=self._pack.rows.eval_hash)
            if why is not None:
                self._recorder.dominated(trial_id, why, self._facts_then(trial_id, why))
                fault_point("dominated.written")
                self._stop(trial_id, why)

    def _facts_then(self, trial_id: str, why: Dominated) -> Facts:
        return self._facts(self._configs[trial_id]).model_copy(update={"n_train_tokens": why.tokens})

    def _stop(self, trial_id: str, why: Dominated) -> None:
        self._stopped[trial_id] = why
        if trial_id in self._trained:
            self._trained.remove(trial_id)
            self._pack.drop(trial_id)


def _of_rows(folder: RunFolder, trial_ids: list[str]) -> list[tuple[str, Dominated]]:
    found: list[tuple[str, Dominated]] = []
    for trial_id in trial_ids:
        try:
            row = folder.row(trial_id)
        except BadInput:  # damaged: the trial is open
            continue
        if row is not None and row.dominated is not None:
            found.append((trial_id, row.dominated))
    return found
