"""From what was asked for to a plan, which can be shown, made again with other rates, or grow. Writes nothing."""

import json
from collections.abc import Sequence
from dataclasses import replace

from orchestrator.folder.records import SavedPlan
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.checkpoints import newest_step
from orchestrator.packs.fence import attempts
from orchestrator.planning.beyond_grid import Beyond
from orchestrator.planning.cost import Costing
from orchestrator.planning.kept_packs import with_kept_packs
from orchestrator.planning.kept_rates import machine_key, read_rates
from orchestrator.planning.plan import Plan, PlannedTrial, costing_for, device_kind, n_threads, packed, plan
from orchestrator.planning.plan_text import plan_text
from orchestrator.planning.rates import Rates
from orchestrator.running.earlier_rows import kept_rows
from orchestrator.running.machine import Room, room_for
from orchestrator.running.planned import LaunchOptions, Planned
from orchestrator.sweep.sweep_file import Sweep, load_sweep
from orchestrator.sweep.sweep_home import Home, find_home
from trainer.data import default_cache
from trainer.errors import EnvironmentProblem
from trainer.models import ModelFacts, describe_model
from trainer.models.source import model_folder


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


def is_begun(folder: RunFolder, pack_id: str) -> bool:
    """Whether there is anything of a pack that others would have to do again."""
    return attempts(folder, pack_id) > 0 or newest_step(folder.checkpoints(pack_id)) is not None


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
