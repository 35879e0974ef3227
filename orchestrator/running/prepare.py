"""From what was asked for to a plan, jobs for workers, and the first files of a run folder. Imports no Ray."""

import json
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

from orchestrator.folder.clock import now
from orchestrator.folder.records import PackEstimate, PackState, PackStatus, Row, RowStatus, SavedLaunch, SavedPlan
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts.schema import objective_columns
from orchestrator.packs.checkpoints import newest_step
from orchestrator.packs.fence import attempts, fence_off
from orchestrator.packs.jobs import PackJob
from orchestrator.planning.beyond_grid import Beyond
from orchestrator.planning.cost import Costing, PlanCost, plan_cost
from orchestrator.planning.kept_packs import saved_plan, with_kept_packs
from orchestrator.planning.kept_rates import machine_key, read_rates
from orchestrator.planning.plan import Plan, PlannedTrial, costing_for, device_kind, n_threads, packed, plan
from orchestrator.planning.plan_text import plan_text
from orchestrator.planning.rates import Rates
from orchestrator.running.machine import Room, room_for
from orchestrator.search.searching import Searching
from orchestrator.sweep.objectives import judged_by
from orchestrator.sweep.sweep_file import Sweep, load_sweep
from orchestrator.sweep.sweep_home import Home, find_home
from orchestrator.tracking import Mirror, TrialRun, describe_plan, resolve_tracking_uri, whole_address
from orchestrator.tracking.store import answers_explained
from trainer.data import default_cache
from trainer.errors import BadInput, EnvironmentProblem
from trainer.models import ModelFacts, describe_model
from trainer.models.source import model_folder

CHECKPOINT_EVERY = "SAE_FRONTIER_CHECKPOINT_S"
"""Seconds between checkpoints in place of what their cost suggests: for tests, which are short."""


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
    allow_changed: bool = False
    """Whether to begin anew beside a run folder of the same name whose trials mean something else."""
    include_removed: bool = False
    """Whether results of trials that the sweep has no longer are shown too."""
    path: Literal["auto", "dense", "sparse"] = "auto"
    """How SAEs compute: through positive latents only once those are few, or always one way."""
    share: bool = True
    """Whether trials share packs. Off, each is trained alone: the same numbers, slower."""
    calibrate: bool = False
    """Whether to time some real steps before anything is planned."""
    folder: Path | None = None
    """The run folder to go on with, whatever its name; None for the one that the sweep has."""
    notes: tuple[str, ...] = ()
    """What had to be put right before."""


@dataclass(frozen=True)
class Planned:
    """A sweep that can be started, as far as its file, its model's shape and this machine tell."""

    options: LaunchOptions
    sweep: Sweep
    facts: ModelFacts
    room: Room
    plan: Plan
    home: Home
    costing: Costing
    before: SavedPlan | None = None
    """The plan of the run folder, if there is one: its packs are kept."""
    launch_id: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def folder(self) -> RunFolder:
        return self.home.folder

    @property
    def trial_ids(self) -> frozenset[str]:
        """The trials that the sweep asks for now."""
        return frozenset(trial.trial_id for trial in self.plan.trials)

    @property
    def saved(self) -> SavedPlan:
        """As the run folder keeps it."""
        return saved_plan(self.plan, self.estimates, self.before)

    @cached_property
    def searching(self) -> Searching | None:
        """What comes after the grid, if anything does."""
        n_grid = sum(trial.proposed is None for trial in self.plan.trials)
        return Searching.of(self.sweep, self.facts, n_grid)

    @cached_property
    def cost(self) -> PlanCost:
        """What its packs will take."""
        return plan_cost(self.plan.packs, self.facts, self.costing)

    @property
    def estimates(self) -> dict[str, PackEstimate]:
        """The same, as the run folder keeps it."""
        return {
            pack.pack_id: PackEstimate(
                seconds=pack.seconds,
                memory_bytes=pack.memory_bytes,
                micro_batch_rows=pack.micro_batch_rows,
                basis=pack.basis,
            )
            for pack in self.cost.packs
        }

    @property
    def tracking_uri(self) -> str:
        uri = self.sweep.tracking.uri
        # That of a resumed run is written without its password.
        configured = None if uri == "default" else whole_address(uri, environ=os.environ)
        return resolve_tracking_uri(configured, runs=self.options.runs, environ=os.environ)


def read_and_plan(options: LaunchOptions, *, only_look: bool = False) -> Planned:
    """From the sweep file to packs; writes nothing. `only_look`: a machine too small for a pack is no problem.

    Raises BadInput or EnvironmentProblem.
    """
    home = find_home(load_sweep(options.sweep_file, list(options.overrides)), options.runs, folder=options.folder)
    sweep = home.sweep
    facts = describe_model(sweep.model)
    try:
        room = room_for(sweep.resources, n_slots=options.n_slots, only_look=only_look)
    except EnvironmentProblem:
        model_folder(sweep.model, "config")  # a hub that cannot be reached is the first thing to say
        raise
    key = machine_key(device_kind(sweep), n_threads=n_threads(sweep), n_slots=room.n_slots)
    rates = read_rates(default_cache(), key)
    costing = costing_for(sweep, facts, memory_bytes=room.memory_bytes, rates=rates, path=options.path)
    costing = replace(costing, on_ray=not options.local)
    before = home.folder.plan()
    made = _packed(sweep, facts, room, home, costing, before, share=options.share)
    planned = Planned(options, sweep, facts, room, made, home, costing, before)
    _ = planned.searching  # what is wrong with it is said now
    return planned


def with_rates(planned: Planned, rates: Rates) -> Planned:
    """The same sweep, planned with other rates."""
    costing, share = replace(planned.costing, rates=rates), planned.options.share
    made = _packed(planned.sweep, planned.facts, planned.room, planned.home, costing, planned.before, share=share)
    known = {trial.trial_id for trial in made.trials}
    new = [trial for trial in planned.plan.trials if trial.trial_id not in known]
    return with_trials(replace(planned, plan=made, costing=costing), new)


def with_trials(planned: Planned, new: Sequence[PlannedTrial]) -> Planned:
    """The same sweep with trials more that a search has proposed, in packs of their own."""
    if not new:
        return planned
    there = {trial_id for pack in planned.plan.packs for trial_id in pack.trial_ids}
    packs = packed(
        [trial for trial in new if trial.trial_id not in there],
        planned.sweep,
        planned.costing,
        n_slots=planned.room.n_slots,
        share=planned.options.share,
    )
    before = planned.plan
    larger = replace(before, trials=(*before.trials, *new), packs=(*before.packs, *packs))
    return replace(planned, plan=larger, before=planned.saved)


def _packed(
    sweep: Sweep,
    facts: ModelFacts,
    room: Room,
    home: Home,
    costing: Costing,
    before: SavedPlan | None,
    *,
    share: bool,
) -> Plan:
    """A fresh plan, but for the packs that were begun. What a search has proposed is in it."""
    more = Beyond(sweep, facts).still_wanted(before)
    fresh = plan(sweep, facts, n_slots=room.n_slots, costing=costing, share=share, more=more)
    return with_kept_packs(fresh, before, is_begun=lambda pack_id: is_begun(home.folder, pack_id))


def described(planned: Planned) -> str:
    """What `--dry-run` prints."""
    n_done = len(kept_rows(planned))
    search = planned.searching
    then = f"{search.planner.label}, after the grid: {search.most_text}" if search is not None else ""
    n_slots = planned.room.n_slots
    return plan_text(planned.plan, planned.cost, planned.sweep, n_slots=n_slots, n_done=n_done, search=then)


def described_as_json(planned: Planned) -> str:
    """The same for machines: the plan, and what it will take."""
    estimates = {pack_id: estimate.model_dump(mode="json") for pack_id, estimate in planned.estimates.items()}
    low, high = planned.cost.range_s(n_slots=planned.room.n_slots)
    seconds = planned.cost.seconds(n_slots=planned.room.n_slots)
    total = {"seconds": seconds, "seconds_low": low, "seconds_high": high, "basis": planned.cost.basis}
    return json.dumps({**json.loads(planned.plan.to_json()), "estimates": estimates, "estimate": total}, indent=1)


def kept_rows(planned: Planned) -> list[Row]:
    """Rows of earlier launches that stay: done, dominated, and failed ones unless they are to be tried again.

    Rows that were damaged are not among them.
    """
    keep = {RowStatus.DONE, RowStatus.DOMINATED, *([] if planned.options.retry_failed else [RowStatus.FAILED])}
    rows = (row_if_whole(planned.folder, trial.trial_id) for trial in planned.plan.trials)
    return [row for row in rows if row is not None and row.status in keep]


def make_jobs(planned: Planned, kept: Sequence[Row]) -> list[PackJob]:
    """The packs that have trials without such a row, dearest first."""
    resources, logging, estimates = planned.sweep.resources, planned.sweep.logging, planned.saved.estimates
    frontier = planned.sweep.frontier
    have = {row.trial_id for row in kept}
    return [
        PackJob(
            folder=str(planned.folder.path.absolute()),
            pack_id=pack.pack_id,
            trial_ids=left,
            cache=str(default_cache().absolute()),
            cpus=resources.cpus_per_pack,
            gpus=resources.gpus_per_pack,
            micro_batch_rows=estimates[pack.pack_id].micro_batch_rows,
            log_every_steps=logging.log_every_steps,
            eval_every_tokens=None if logging.eval_every_tokens == "end" else logging.eval_every_tokens,
            n_elements=logging.elements,
            n_snippets=logging.element_snippets,
            path=planned.options.path,
            stop_dominated=None if frontier.stop_dominated == "off" else frontier.stop_dominated,
            objectives=_directions(judged_by(frontier, planned.sweep.search)),
            launch_id=planned.launch_id,
            hung_after_s=60 * resources.hung_after_minutes,
            checkpoint_every_s=float(every) if (every := os.environ.get(CHECKPOINT_EVERY)) else None,
        )
        for pack in planned.plan.packs
        if (left := [id_ for id_ in pack.trial_ids if id_ not in have and id_ in planned.trial_ids])
    ]


def _directions(names: Sequence[str]) -> dict[str, Literal["lower", "higher"]]:
    """Which way each of these metrics is good."""
    columns = objective_columns()
    return {name: "higher" if columns[name].better == "higher" else "lower" for name in names}


def write_plan(planned: Planned, jobs: Sequence[PackJob]) -> None:
    """The sweep and its plan, and each of these packs as waiting. Who worked on them before may write no more."""
    folder = planned.folder
    folder.write_sweep(planned.sweep.to_yaml())
    folder.write_plan(planned.saved)
    folder.write_launch(saved_launch(planned))
    write_waiting(folder, jobs)


def write_waiting(folder: RunFolder, jobs: Sequence[PackJob]) -> None:
    """Each of these packs as one that nobody works on."""
    for job in jobs:
        fence_off(folder, job.pack_id)
        folder.write_pack_status(
            PackStatus(pack_id=job.pack_id, state=PackState.WAITING, trial_ids=job.trial_ids, updated_at=now())
        )


def set_rows_aside(planned: Planned) -> list[tuple[str, str, Path]]:
    """Moves rows away that are damaged or to be tried again: their trials are open then.

    Returns of each the trial, why, and where the row is now.
    """
    moved: list[tuple[str, str, Path]] = []
    for trial in planned.plan.trials:
        try:
            row = whole_row(planned.folder, trial.trial_id)
        except BadInput as damage:
            why = str(damage)
        else:
            if row is None or row.status is not RowStatus.FAILED or not planned.options.retry_failed:
                continue
            why = "it failed, and is tried again"
        moved.append((trial.run_name, why, planned.folder.set_row_aside(trial.trial_id)))
    return moved


def row_if_whole(folder: RunFolder, trial_id: str) -> Row | None:
    """None also where it was damaged, or the curves that belong to it."""
    try:
        return whole_row(folder, trial_id)
    except BadInput:
        return None


def whole_row(folder: RunFolder, trial_id: str) -> Row | None:
    """Raises BadInput where it was damaged, or the curves that belong to it."""
    row = folder.row(trial_id)
    if row is not None and row.journal_sha256 is not None:
        path = folder.journal(trial_id)
        stamp = (path.stat().st_mtime_ns, path.stat().st_size) if path.exists() else (0, 0)
        if _journal_sha256(folder.path, trial_id, stamp) != row.journal_sha256:
            raise BadInput(f"{path} is not what it was when the trial ended: it was damaged, or changed by hand")
    return row


@lru_cache(maxsize=10_000)
def _journal_sha256(folder: Path, trial_id: str, stamp: tuple[int, int]) -> str | None:
    """`stamp`: what changes when the file does."""
    return RunFolder(folder).journal_sha256(trial_id)


def is_begun(folder: RunFolder, pack_id: str) -> bool:
    """Whether there is anything of a pack that others would have to do again."""
    return attempts(folder, pack_id) > 0 or newest_step(folder.checkpoints(pack_id)) is not None


def saved_launch(planned: Planned) -> SavedLaunch:
    """The options of this launch, for whoever goes on with the run folder alone."""
    options = planned.options
    before = planned.folder.launch() if options.folder is not None else None
    return SavedLaunch(
        sweep_file=before.sweep_file if before else str(options.sweep_file.absolute()),
        cwd=before.cwd if before else str(Path.cwd()),
        n_slots=options.n_slots,
        local=options.local,
        tracking=options.tracking,
        path=options.path,
        share=options.share,
    )


def import_tracking(planned: Planned) -> None:
    """Seconds of imports, for whoever must not have them happen in two threads at once."""
    with answers_explained(planned.tracking_uri):
        pass


def make_mirror(planned: Planned, tell: Callable[[str, str], None]) -> Mirror:
    """What copies the run folder into MLflow while the sweep runs."""
    return Mirror(
        planned.folder,
        uri=planned.tracking_uri,
        runs_root=planned.options.runs,
        sweep_name=planned.sweep.name,
        sweep_id=planned.plan.sweep_id,
        trials=trial_runs(planned),
        tell=tell,
    )


def trial_runs(planned: Planned) -> list[TrialRun]:
    """What MLflow is told about the trials before they train."""
    return describe_plan(planned.saved, d_model=planned.facts.d_model)
