"""One attempt at a pack: from its newest checkpoint, or from its start, to its rows.

    point of a curve -> journal -> checkpoint -> weights -> elements -> row

Each is on the disk before the next is written, so an attempt may be cut off anywhere: the next one finds a checkpoint
that misses nothing, and does the rest again.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from orchestrator.folder.clock import now
from orchestrator.folder.files import disk_problems_explained
from orchestrator.folder.records import CheckpointManifest, Facts, SavedPlan
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs import checkpoints
from orchestrator.packs.checkpoints import Pace
from orchestrator.packs.early import EarlyStops
from orchestrator.packs.elements import Words
from orchestrator.packs.fence import Fence
from orchestrator.packs.held import held_model, held_rows, peak_memory_bytes, tidy_memory
from orchestrator.packs.jobs import PackJob
from orchestrator.packs.patience import check_room
from orchestrator.packs.recorder import PackRecorder
from trainer.checkpoint import state_bytes
from trainer.config import SCRATCH, TrialConfig
from trainer.data import Rows
from trainer.elements import Look
from trainer.memory import keep_freed_memory
from trainer.models import FrozenModel
from trainer.pack import Diverged, Evaluated, Finished, Pack, Stepping, Trained, TrialResult
from trainer.precision import DTYPES
from trainer.pulse import pulse

_SPENT_ON = ("clean", "evaluation")


class Stopped(Exception):
    """A stop was asked for and is obeyed; there is a checkpoint of the last step."""


@dataclass
class Attempt:
    """Everything that one attempt works with."""

    job: PackJob
    plan: SavedPlan
    folder: RunFolder
    fence: Fence
    recorder: PackRecorder
    device: torch.device
    stop: Callable[[], bool]

    def run(self) -> None:
        """Train what is left, and write a row for each trial. Raises Stopped, Fenced, and what goes wrong."""
        keep_freed_memory()
        tidy_memory(self.device)
        torch.set_num_threads(self.job.n_threads)
        pack, manifest = self._pack()
        saver = _Saver(self, pack, manifest)
        for trial_id, why in saver.failed.items():
            self.recorder.failed(trial_id, why)
        early = EarlyStops(self, pack, saver.dominated, lambda config: _facts(config, pack.model, pack.rows))
        events = pack.train(
            log_every_steps=self.job.log_every_steps,
            eval_every_tokens=self.job.eval_every_tokens,
            look=Look(self.job.n_elements, self.job.n_snippets) if self.job.n_elements else None,
        )
        for event in events:
            if not self.recorder.open_trials:
                return
            match event:
                case Stepping():
                    early.replay(event.step)
                    is_last = event.step == pack.n_steps
                    self.recorder.at_step(event.step, is_last=is_last)
                    pulse("step", event.step)
                    asked = self.stop() and not is_last
                    if is_last or asked or saver.pace.is_due:
                        saver.save()
                    if asked:
                        raise Stopped
                case Trained():
                    saver.trained()
                    self.recorder.curves(event.step, event.tokens, event.metrics)
                case Evaluated():
                    by_name = {id_: _named("eval", values) for id_, values in event.metrics.items()}
                    self.recorder.curves(event.step, event.tokens, by_name)
                    early.judge(event.step)
                case Diverged():
                    saver.failed[event.trial_id] = f"diverged at step {event.step}: {event.reason}"
                    self.recorder.failed(event.trial_id, saver.failed[event.trial_id])
                case Finished():
                    self._write_rows(event, pack, saver.train_wall_s)

    def _pack(self) -> tuple[Pack, CheckpointManifest | None]:
        """All trials of the pack, whatever rows there are already: others' numbers depend on their company. But for
        those that were stopped early."""
        trials = list(self.plan.trials_of(self.job.pack_id))
        first = trials[0]
        # Frozen values are hashable; pydantic does not tell the type checker.
        model = held_model(first.model, self.device, DTYPES[first.train.compute_dtype])  # pyright: ignore[reportArgumentType]
        rows = held_rows(first.data, first.model, model.d_vocab, self.job.cache)  # pyright: ignore[reportArgumentType]
        pulse("loaded")
        began = checkpoints.began_with(self.folder.checkpoints(self.job.pack_id))
        how = began or self.job  # as it began, whatever another machine would choose
        starts = {id_: self.folder.read_start(id_) for id_ in {trial.sae.start_from for trial in trials} - {SCRATCH}}
        pack = Pack(trials, model=model, rows=rows, micro_batch_rows=how.micro_batch_rows, path=how.path, starts=starts)
        if began is not None:  # without those that were stopped before it
            for trial_id in {*self.plan.packs[self.job.pack_id]} - {id_ for bank in began.trial_ids for id_ in bank}:
                pack.drop(trial_id)
        return pack, self._restore(pack)

    def _restore(self, pack: Pack) -> CheckpointManifest | None:
        n_damaged = 0

        def say_damaged(step: int, why: str) -> None:
            nonlocal n_damaged
            n_damaged += 1
            self.recorder.event("checkpoint_damaged", f"cannot use its checkpoint of step {step}: {why}", step=step)

        manifest = checkpoints.restore(
            self.folder.checkpoints(self.job.pack_id),
            pack.state,
            trial_ids=pack.trial_ids,
            n_points=self.recorder.journals.n_points,
            say_damaged=say_damaged,
        )
        if manifest is not None:
            self.recorder.goes_on(manifest.step, manifest.started_at)
            self.recorder.event(
                "pack_resumed", f"goes on from step {manifest.step} of {pack.n_steps}", level="info", step=manifest.step
            )
        elif n_damaged:
            self.recorder.event("pack_starts_over", "starts over: none of its checkpoints can be used")
        return manifest

    def _write_rows(self, event: Finished, pack: Pack, train_wall_s: float) -> None:
        words = Words(pack.trials[0], pack.rows) if self.job.n_elements else None
        for config in pack.trials:
            if (result := event.results.get(config.trial_id)) is not None:
                self.recorder.done(
                    result,
                    config.trial_id,
                    facts=_facts(config, pack.model, pack.rows),
                    cost=_cost(result, train_wall_s),
                    peak_memory_bytes=peak_memory_bytes(self.device),
                    elements=None if words is None else words.of(config.trial_id, result.elements),
                )


class _Saver:
    """Makes the checkpoints of an attempt, and keeps the books that go with them."""

    def __init__(self, attempt: Attempt, pack: Pack, manifest: CheckpointManifest | None) -> None:
        self._attempt, self._pack = attempt, pack
        self._where = attempt.folder.checkpoints(attempt.job.pack_id)
        self._before_s = 0.0
        self._started_s = self._trained_s = time.perf_counter()
        self.pace = Pace(every_s=attempt.job.checkpoint_every_s)
        self.failed = _failed(pack, manifest)
        self.dominated = dict(manifest.dominated) if manifest is not None else {}
        if manifest is not None:
            self._take_books(manifest)

    @property
    def train_wall_s(self) -> float:
        """Seconds of training over all attempts."""
        return self._before_s + self._trained_s - self._started_s

    def trained(self) -> None:
        """Training has come this far."""
        self._trained_s = time.perf_counter()

    def save(self) -> None:
        """A checkpoint of the pack as it is, after its points."""
        recorder, fence = self._attempt.recorder, self._attempt.fence
        started_s, waited_s = time.perf_counter(), recorder.waited_s
        self.trained()
        recorder.journals.flush()
        manifest = CheckpointManifest(
            pack_id=self._attempt.job.pack_id,
            step=self._pack.state.step,
            trial_ids=self._pack.trial_ids,
            attempt=fence.attempt,
            files={},
            n_points=recorder.journals.n_points(self._pack.state.step),
            failed=self.failed,
            dominated=self.dominated,
            micro_batch_rows=self._pack.micro_batch_rows,
            path=self._attempt.job.path,
            seconds={name: self._pack.clock.seconds(name) for name in _SPENT_ON} | {"train_wall": self.train_wall_s},
            bank_s=[self._pack.clock.seconds(number) for number in range(len(self._pack.specs))],
            started_at=recorder.started_at,
            saved_at=now(),
        )

        def write() -> None:
            check_room(self._attempt.folder.path, state_bytes(self._pack.state))
            with disk_problems_explained(self._where):
                checkpoints.save(self._where, self._pack.state, manifest=manifest, before_commit=fence.check)

        recorder.write(write)
        self.pace.took(time.perf_counter() - started_s - (recorder.waited_s - waited_s))

    def _take_books(self, manifest: CheckpointManifest) -> None:
        """Seconds of earlier attempts; a part of them where this pack is a part of one that was split."""
        there = [trial_id for bank in manifest.trial_ids for trial_id in bank]
        share = len(self._pack.trials) / len(there)
        for name in _SPENT_ON:
            self._pack.clock.add(name, share * manifest.seconds.get(name, 0.0))
        self._before_s = manifest.seconds.get("train_wall", 0.0)
        for number, bank in enumerate(self._pack.trial_ids):
            for seconds, other in zip(manifest.bank_s, manifest.trial_ids, strict=True):
                if set(bank) <= set(other):
                    self._pack.clock.add(number, seconds * len(bank) / len(other))


def _failed(pack: Pack, manifest: CheckpointManifest | None) -> dict[str, str]:
    """Trials that train no further, and why."""
    if manifest is None:
        return {}
    inactive = [
        trial_id
        for ids, bank in zip(pack.trial_ids, pack.state.banks, strict=True)
        for trial_id, active in zip(ids, bank.active.tolist(), strict=True)
        if not active
    ]
    return {id_: manifest.failed[id_] for id_ in inactive if id_ in manifest.failed}


def _named(prefix: str, values: dict[str, float | list[float]]) -> dict[str, float | list[float]]:
    return {f"{prefix}/{name}": value for name, value in values.items()}


def _facts(config: TrialConfig, model: FrozenModel, rows: Rows) -> Facts:
    return Facts(
        d_model=model.d_model,
        d_sae=config.sae.d_sae(model.d_model),
        n_train_tokens=config.n_steps * config.tokens_per_step,
        n_eval_tokens=len(rows.evaluation) * rows.context,
        data_hash=rows.data_hash,
        eval_hash=rows.eval_hash,
        model_hash=model.content_hash,
    )


def _cost(result: TrialResult, train_wall_s: float) -> dict[str, float]:
    """As the trainer counts it, and under the names of the frontier's columns."""
    cost = dict(result.cost)
    cost["train_wall_s"] = train_wall_s
    cost["device_s"] = cost["train_s"] + cost["evaluation_s"]
    if train_wall_s > 0:
        cost["tokens_per_s"] = cost["n_train_tokens"] / train_wall_s
    return cost
