"""A pack keeps its trials once it is planned: a trial's last digits depend on its company. Pure.

So a plan that is made again, for a grid that grew or on another machine, takes over the packs of the run folder and
plans anew only what is in none of them.
"""

from collections.abc import Callable, Mapping

from orchestrator.folder.records import PackEstimate, SavedPlan
from orchestrator.planning.planned import Pack, Plan, PlannedTrial


def with_kept_packs(fresh: Plan, before: SavedPlan | None, *, is_begun: Callable[[str], bool]) -> Plan:
    """`fresh` with the packs of `before`. Trials that the sweep has no longer stay in packs that were begun."""
    if before is None:
        return fresh
    wanted = {trial.trial_id: trial for trial in fresh.trials}
    known = {
        id_: PlannedTrial(before.run_names[id_], config, before.proposed.get(id_))
        for id_, config in before.trials.items()
    } | wanted
    kept = [
        Pack(tuple(known[id_] for id_ in trial_ids))
        for pack_id, trial_ids in before.packs.items()
        if is_begun(pack_id) or wanted.keys() >= set(trial_ids)
    ]
    packed = {trial.trial_id for pack in kept for trial in pack.trials}
    left = [tuple(trial for trial in pack.trials if trial.trial_id not in packed) for pack in fresh.packs]
    return Plan(fresh.sweep_id, fresh.trials, (*kept, *(Pack(trials) for trials in left if trials)))


def saved_plan(plan: Plan, estimates: Mapping[str, PackEstimate], before: SavedPlan | None = None) -> SavedPlan:
    """As the run folder keeps it. What a pack was expected to take when it was first planned stays, too."""
    packed = {trial.trial_id: trial for pack in plan.packs for trial in pack.trials}
    everything = {trial.trial_id: trial for trial in plan.trials} | packed
    first = dict(before.estimates) if before is not None else {}
    return SavedPlan(
        sweep_id=plan.sweep_id,
        trials={trial_id: trial.config for trial_id, trial in everything.items()},
        run_names={trial_id: trial.run_name for trial_id, trial in everything.items()},
        packs={pack.pack_id: list(pack.trial_ids) for pack in plan.packs},
        estimates={pack_id: first.get(pack_id, estimate) for pack_id, estimate in estimates.items()},
        removed=sorted(packed.keys() - {trial.trial_id for trial in plan.trials}),
        proposed={id_: trial.proposed for id_, trial in everything.items() if trial.proposed is not None},
    )


def split(plan: Plan, pack_id: str) -> tuple[Plan, tuple[Pack, Pack]]:
    """The plan with that pack in two halves, and the halves. Banks stay together as far as that goes.

    Raises ValueError where it has one trial only.
    """
    (pack,) = (pack for pack in plan.packs if pack.pack_id == pack_id)
    if len(pack.trials) < 2:
        raise ValueError(f"pack {pack_id} has one trial and cannot be split")
    middle = len(pack.trials) // 2
    halves = Pack(pack.trials[:middle]), Pack(pack.trials[middle:])
    packs = tuple(new for old in plan.packs for new in (halves if old is pack else (old,)))
    return Plan(plan.sweep_id, plan.trials, packs), halves
