"""`plan`: from a sweep and the model's shape to trials in packs. Pure: starts nothing, loads nothing.

The same sweep gives the same trials with the same ids, whatever the order of its keys. Packs also depend on the slots.
"""

from typing import Literal

from orchestrator.cost import Shape
from orchestrator.packing import MAX_AUTO_TRIALS, Slot, make_packs
from orchestrator.planned import Pack, Plan, PlannedTrial
from orchestrator.sweep_file import Sweep
from orchestrator.trials import ModelShape, expand

__all__ = ["ModelShape", "Pack", "Plan", "PlannedTrial", "plan"]

DEFAULT_MEMORY_BYTES = {"cpu": 8e9, "gpu": 64e9}
"""Taken for a slot where nobody says what it has."""


def plan(sweep: Sweep, facts: ModelShape, *, n_slots: int = 1, memory_bytes: float | None = None) -> Plan:
    """The plan of a sweep on a model of this shape, for `n_slots` packs side by side with `memory_bytes` each.

    Raises:
        BadInput: the sweep does not fit the model (layers, context, missing values), or the grid is too large or
            empty; all problems at once, each with its line.
    """
    trials = expand(sweep, facts)
    wanted = sweep.resources.trials_per_pack
    slot = Slot(
        max_trials=MAX_AUTO_TRIALS if wanted == "auto" else wanted,
        memory_bytes=memory_bytes or DEFAULT_MEMORY_BYTES[device_kind(sweep)],
    )
    packs = make_packs(trials, Shape.of(facts), slot=slot, n_slots=max(1, n_slots))
    return Plan(sweep.sweep_id, trials, packs)


def device_kind(sweep: Sweep) -> Literal["cpu", "gpu"]:
    """`gpu` if packs are given any, else `cpu`."""
    return "gpu" if sweep.resources.gpus_per_pack > 0 else "cpu"
