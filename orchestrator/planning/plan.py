"""`plan`: from a sweep and the model's shape to trials in packs. Pure: starts nothing, loads nothing.

The same sweep gives the same trials with the same ids, whatever the order of its keys. Packs also depend on the slots,
and on what trials are estimated to take.
"""

from collections.abc import Sequence

from orchestrator.planning.beyond_grid import unlike
from orchestrator.planning.cost import Costing
from orchestrator.planning.packing import MAX_AUTO_TRIALS, make_packs
from orchestrator.planning.planned import Pack, Plan, PlannedTrial
from orchestrator.planning.rates import Device, Rates, guessed
from orchestrator.planning.shape import Path, Shape
from orchestrator.planning.trials import ModelShape, expand
from orchestrator.sweep.sweep_file import Sweep

__all__ = ["ModelShape", "Pack", "Plan", "PlannedTrial", "costing_for", "device_kind", "n_threads", "packed", "plan"]

DEFAULT_MEMORY_BYTES: dict[Device, float] = {"cpu": 8e9, "gpu": 64e9}
"""Taken for a slot where nobody says what it has."""


def plan(
    sweep: Sweep,
    facts: ModelShape,
    *,
    n_slots: int = 1,
    memory_bytes: float | None = None,
    costing: Costing | None = None,
    share: bool = True,
    more: Sequence[PlannedTrial] = (),
) -> Plan:
    """The plan of a sweep on a model of this shape, for `n_slots` packs side by side with `memory_bytes` each.

    `costing` tells what trials take; without it that is guessed. Without `share`, each trial is a pack of its own.
    `more`: trials that a search has added to the grid.

    Raises:
        BadInput: the sweep does not fit the model (layers, context, missing values), or the grid is too large or
            empty; all problems at once, each with its line.
    """
    grid = expand(sweep, facts)
    in_grid = {trial.trial_id for trial in grid}
    beyond = [trial for trial in more if trial.trial_id not in in_grid]
    trials = (*grid, *unlike(beyond, [trial.run_name for trial in grid]))
    costing = costing or costing_for(sweep, facts, memory_bytes=memory_bytes)
    return Plan(sweep.sweep_id, trials, packed(trials, sweep, costing, n_slots=n_slots, share=share))


def packed(
    trials: Sequence[PlannedTrial], sweep: Sweep, costing: Costing, *, n_slots: int, share: bool = True
) -> tuple[Pack, ...]:
    """These trials of the sweep in packs, dearest first."""
    wanted = sweep.resources.trials_per_pack
    most = MAX_AUTO_TRIALS if wanted == "auto" else wanted
    return make_packs(trials, costing, max_trials=most if share else 1, n_slots=max(1, n_slots))


def costing_for(
    sweep: Sweep,
    facts: object,
    *,
    memory_bytes: float | None = None,
    rates: Rates | None = None,
    path: Path = "auto",
) -> Costing:
    """What the costs of this sweep depend on. Rates and memory are guessed where nobody says them."""
    device, every = device_kind(sweep), sweep.logging.eval_every_tokens
    return Costing(
        shape=Shape.of(facts),
        rates=rates or guessed(device, n_threads=n_threads(sweep)),
        device=device,
        memory_bytes=memory_bytes or DEFAULT_MEMORY_BYTES[device],
        eval_every_tokens=None if every == "end" else every,
        path=path,
    )


def n_threads(sweep: Sweep) -> int:
    """Of one pack on the CPU."""
    return max(1, int(sweep.resources.cpus_per_pack))


def device_kind(sweep: Sweep) -> Device:
    """`gpu` if packs are given any, else `cpu`."""
    return "gpu" if sweep.resources.gpus_per_pack > 0 else "cpu"
