"""From what was asked for to a plan, jobs for workers, and the first files of a run folder. Imports no Ray."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from orchestrator.cost import TOKENS_AT_ONCE, plan_cost
from orchestrator.files import disk_problems_explained
from orchestrator.jobs import PackJob, now
from orchestrator.machine import Room, room_for
from orchestrator.plan import Plan, plan
from orchestrator.plan_text import plan_text
from orchestrator.records import PackState, PackStatus, Row, RowStatus, SavedPlan
from orchestrator.run_folder import RunFolder
from orchestrator.sweep_file import Sweep, load_sweep
from orchestrator.tracking import Tracker, describe_trial, masked, resolve_tracking_uri
from orchestrator.tracking.address import ENV as TRACKING_ENV
from orchestrator.tracking.store import answers_explained
from trainer.config import TrialConfig
from trainer.data import default_cache
from trainer.errors import EnvironmentProblem
from trainer.models import ModelFacts, describe_model
from trainer.models.source import model_folder


@dataclass(frozen=True)
class LaunchOptions:
    """What was asked for on the command line."""

    sweep_file: Path
    overrides: Sequence[str] = ()
    runs: Path = Path("runs")
    local: bool = False
    tracking: bool = True
    retry_failed: bool = False
    n_slots: int | None = None


@dataclass(frozen=True)
class Planned:
    """A sweep that can be started, as far as its file, its model's shape and this machine tell."""

    options: LaunchOptions
    sweep: Sweep
    facts: ModelFacts
    room: Room
    plan: Plan
    folder: RunFolder

    @property
    def saved(self) -> SavedPlan:
        """As the run folder keeps it."""
        return SavedPlan(
            sweep_id=self.plan.sweep_id,
            trials={trial.trial_id: trial.config for trial in self.plan.trials},
            run_names={trial.trial_id: trial.run_name for trial in self.plan.trials},
            packs={pack.pack_id: list(pack.trial_ids) for pack in self.plan.packs},
        )

    @property
    def tracking_uri(self) -> str:
        uri = self.sweep.tracking.uri
        configured = None if uri == "default" else uri
        return resolve_tracking_uri(configured, runs=self.options.runs, environ=os.environ)


def read_and_plan(options: LaunchOptions, *, only_look: bool = False) -> Planned:
    """From the sweep file to packs; writes nothing. `only_look`: a machine too small for a pack is no problem.

    Raises BadInput or EnvironmentProblem.
    """
    sweep = load_sweep(options.sweep_file, list(options.overrides))
    facts = describe_model(sweep.model)
    try:
        room = room_for(sweep.resources, n_slots=options.n_slots, only_look=only_look)
    except EnvironmentProblem:
        model_folder(sweep.model, "config")  # a hub that cannot be reached is the first thing to say
        raise
    planned = plan(sweep, facts, n_slots=room.n_slots, memory_bytes=room.memory_bytes)
    return Planned(options, sweep, facts, room, planned, RunFolder.of_sweep(options.runs, sweep.sweep_id))


def described(planned: Planned) -> str:
    """What `--dry-run` prints."""
    cost = plan_cost(planned.plan.packs, planned.facts)
    n_done = len(kept_rows(planned))
    return plan_text(planned.plan, cost, planned.sweep, n_slots=planned.room.n_slots, n_done=n_done)


def kept_rows(planned: Planned) -> list[Row]:
    """Rows of earlier launches that stay: all that are done, and failed ones unless they are to be tried again."""
    keep = {RowStatus.DONE} if planned.options.retry_failed else {RowStatus.DONE, RowStatus.FAILED}
    return [
        row
        for trial in planned.plan.trials
        if (row := planned.folder.row(trial.trial_id)) is not None and row.status in keep
    ]


def make_jobs(planned: Planned, kept: Sequence[Row]) -> list[PackJob]:
    """The packs that have trials without such a row, dearest first."""
    resources, logging = planned.sweep.resources, planned.sweep.logging
    have = {row.trial_id for row in kept}
    return [
        PackJob(
            folder=str(planned.folder.path.absolute()),
            pack_id=pack.pack_id,
            trial_ids=left,
            cache=str(default_cache().absolute()),
            cpus=resources.cpus_per_pack,
            gpus=resources.gpus_per_pack,
            micro_batch_rows=_micro_batch_rows(pack.trials[0].config),
            log_every_steps=logging.log_every_steps,
            eval_every_tokens=None if logging.eval_every_tokens == "end" else logging.eval_every_tokens,
            tracking=planned.options.tracking,
        )
        for pack in planned.plan.packs
        if (left := [trial_id for trial_id in pack.trial_ids if trial_id not in have])
    ]


def write_plan(planned: Planned, jobs: Sequence[PackJob]) -> None:
    """The sweep and its plan, and each of these packs as waiting."""
    folder = planned.folder
    folder.write_sweep(planned.sweep.to_yaml())
    folder.write_plan(planned.saved)
    for job in jobs:
        folder.write_pack_status(
            PackStatus(pack_id=job.pack_id, state=PackState.WAITING, trial_ids=job.trial_ids, updated_at=now())
        )


def import_tracking(planned: Planned) -> None:
    """Seconds of imports, for whoever must not have them happen in two threads at once."""
    with answers_explained(planned.tracking_uri):
        pass


def start_tracking(planned: Planned) -> Tracker:
    """An MLflow run for the sweep and one for each trial, found or made, and noted in the run folder."""
    tracker = Tracker(planned.tracking_uri, runs=planned.options.runs)
    packs = {trial.trial_id: pack.pack_id for pack in planned.plan.packs for trial in pack.trials}
    trials = [
        replace(
            describe_trial(trial.config, d_model=planned.facts.d_model, pack_id=packs[trial.trial_id]),
            run_name=trial.run_name,
        )
        for trial in planned.plan.trials
    ]
    planned.folder.write_mlflow_runs(tracker.start_sweep(planned.sweep.name, planned.plan.sweep_id, trials))
    if "***" in masked(planned.tracking_uri):
        os.environ[TRACKING_ENV] = planned.tracking_uri  # for workers: the run folder has it without its password
    return tracker


def lock(planned: Planned, held: ExitStack) -> None:
    """Take the run folder for this launch until `held` closes. Raises EnvironmentProblem where another one has it."""
    path = planned.folder.path / ".lock"
    with disk_problems_explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            held.enter_context(FileLock(path, timeout=0))
        except Timeout:
            status = planned.folder.status()
            who = f" (process {status.pid} on {status.host})" if status and status.pid else ""
            raise EnvironmentProblem(
                f"{planned.folder.path} is in use: this sweep is being run already{who}. Wait for it, or stop it first"
            ) from None


def _micro_batch_rows(config: TrialConfig) -> int:
    """As many rows at once as the plan counted on."""
    return max(1, min(config.train.batch_rows, TOKENS_AT_ONCE // config.data.context))
