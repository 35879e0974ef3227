"""What `--dry-run` prints: a plan and its cost for people. Text only; starts nothing."""

from collections.abc import Sequence

from orchestrator.display.words import bytes_text, duration_text, spans
from orchestrator.planning.cost import PackCost, PlanCost
from orchestrator.planning.planned import Pack, Plan
from orchestrator.sweep.sweep_file import Sweep
from trainer.config import TrialConfig
from trainer.losses import LOSS_KINDS

MAX_PACKS_SHOWN = 12
_BASES = {
    "guessed": "guessed from FLOPs and bytes; --calibrate measures it",
    "measured on other SAEs": "from rates measured on this machine with other SAEs; --calibrate times these",
    "measured": "these SAEs were timed on this machine",
}


def plan_text(plan: Plan, cost: PlanCost, sweep: Sweep, *, n_slots: int = 1, n_done: int = 0, search: str = "") -> str:
    """The grid, the packs and why, tokens, memory and time. `n_done` trials will be skipped. `search`: what comes after
    the grid."""
    configs = [trial.config for trial in plan.trials]
    first = configs[0]
    data = f"{first.data.dataset}, {first.data.context} tokens a row"
    parts = [
        f"{plan.sweep_id}: {sweep.model.name} on {data}",
        *_grid_lines(configs),
        "",
        *_pack_lines(plan, cost, n_slots),
        "",
        *_cost_lines(configs, cost, sweep, n_slots),
        *([f"search       {search}"] if search else []),
        *([f"already done {n_done:,} of {len(configs):,} trials, which will be skipped"] if n_done else []),
        "nothing was started",
    ]
    return "\n".join(parts)


def _grid_lines(configs: Sequence[TrialConfig]) -> list[str]:
    layers = sorted({config.layer for config in configs})
    kinds = [kind for kind in LOSS_KINDS if any(config.loss.kind == kind for config in configs)]
    seeds = sorted({config.seed for config in configs})
    lines = [
        f"grid         {_count(layers, 'layer')} x {_count(kinds, 'loss', 'losses')} x coefficients x "
        f"{_count(seeds, 'seed')} = {_count(configs, 'trial')}",
        f"layers       {spans(layers)}",
    ]
    for kind in kinds:
        by_coefficients: dict[tuple[float, ...], list[int]] = {}
        for layer in layers:
            here = {c.loss.sparsity_coeff for c in configs if c.loss.kind == kind and c.layer == layer}
            if here:
                by_coefficients.setdefault(tuple(sorted(here)), []).append(layer)
        for coefficients, where in by_coefficients.items():
            at = "" if len(by_coefficients) == 1 and where == layers else f"   at layers {spans(where)}"
            lines.append(f"{kind:<15}sparsity_coeff {', '.join(f'{value:g}' for value in coefficients)}{at}")
    return [*lines, f"seeds        {', '.join(map(str, seeds))}"]


def _pack_lines(plan: Plan, cost: PlanCost, n_slots: int) -> list[str]:
    n_shared = len({pack.trials[0].config.shares_batches_with for pack in plan.packs})
    why = "trials of a pack share every clean run of the model"
    if n_shared > 1:
        why += f"; {n_shared} sets of trials differ in rows, batch, steps or precision and cannot share one"
    lines = [f"packs        {_count(plan.packs, 'pack')} for {n_slots} at a time: {why}"]
    shown = list(zip(plan.packs, cost.packs, strict=True))[:MAX_PACKS_SHOWN]
    lines += [_pack_line(pack, pack_cost) for pack, pack_cost in shown]
    return [*lines, *([f"  ... and {len(plan.packs) - MAX_PACKS_SHOWN} more"] if len(plan.packs) > len(shown) else [])]


def _pack_line(pack: Pack, cost: PackCost) -> str:
    layers = spans(sorted({trial.config.layer for trial in pack.trials}))
    kinds = [kind for kind in LOSS_KINDS if any(trial.config.loss.kind == kind for trial in pack.trials)]
    return (
        f"  {pack.pack_id}  {_count(pack.trials, 'trial'):>10}  about {duration_text(cost.seconds):>9}  "
        f"{bytes_text(cost.memory_bytes):>7}  {cost.micro_batch_rows} rows at once  layers {layers}  {', '.join(kinds)}"
    )


def _cost_lines(configs: Sequence[TrialConfig], cost: PlanCost, sweep: Sweep, n_slots: int) -> list[str]:
    per_trial = sorted({config.n_steps * config.tokens_per_step for config in configs})
    tokens = f"{per_trial[0]:,}" if len(per_trial) == 1 else f"{per_trial[0]:,} to {per_trial[-1]:,}"
    steps = sorted({config.n_steps for config in configs})
    n_steps = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
    low, high = cost.range_s(n_slots=n_slots)
    cpus = sweep.resources.cpus_per_pack
    slot = "a GPU" if cost.device == "gpu" else "one CPU thread" if cpus < 2 else f"{int(cpus)} CPU threads"
    return [
        f"tokens       {tokens} a trial in {n_steps} steps; {cost.sae_tokens:,} SAE-tokens in all",
        f"work         {duration_text(cost.slot_seconds)} of {slot}; no way of computing needs less than "
        f"{cost.floor_flops:.2g} FLOPs",
        f"memory       about {bytes_text(cost.largest_pack_bytes)} for the largest pack",
        f"time         about {duration_text(cost.seconds(n_slots=n_slots))} ({duration_text(low)} to "
        f"{duration_text(high)}), {n_slots} at a time with {slot} each",
        f"             {_BASES[cost.basis]}",
    ]


def _count(things: Sequence[object], one: str, many: str | None = None) -> str:
    return f"{len(things):,} {one if len(things) == 1 else many or one + 's'}"
