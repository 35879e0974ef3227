"""What `--dry-run` prints: a plan and its cost for people. Text only; starts nothing."""

from collections.abc import Sequence

from orchestrator.cost import PackCost, PlanCost
from orchestrator.plan import device_kind
from orchestrator.planned import Pack, Plan
from orchestrator.sweep_file import Sweep
from orchestrator.words import spans
from trainer.config import TrialConfig
from trainer.losses import LOSS_KINDS

MAX_PACKS_SHOWN = 12


def plan_text(plan: Plan, cost: PlanCost, sweep: Sweep, *, n_slots: int = 1, n_done: int = 0) -> str:
    """The grid, the packs and why, tokens, memory and time. `n_done` trials will be skipped."""
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
    lines += [_pack_line(pack, pack_cost, cost.flops) for pack, pack_cost in shown]
    return [*lines, *([f"  ... and {len(plan.packs) - MAX_PACKS_SHOWN} more"] if len(plan.packs) > len(shown) else [])]


def _pack_line(pack: Pack, cost: PackCost, total_flops: float) -> str:
    layers = spans(sorted({trial.config.layer for trial in pack.trials}))
    kinds = [kind for kind in LOSS_KINDS if any(trial.config.loss.kind == kind for trial in pack.trials)]
    share = 100 * cost.flops / total_flops
    return (
        f"  {pack.pack_id}  {_count(pack.trials, 'trial'):>10}  {share:4.0f} % of the work  "
        f"about {_bytes(cost.memory_bytes)}  layers {layers}  {', '.join(kinds)}"
    )


def _cost_lines(configs: Sequence[TrialConfig], cost: PlanCost, sweep: Sweep, n_slots: int) -> list[str]:
    per_trial = sorted({config.n_steps * config.tokens_per_step for config in configs})
    tokens = f"{per_trial[0]:,}" if len(per_trial) == 1 else f"{per_trial[0]:,} to {per_trial[-1]:,}"
    steps = sorted({config.n_steps for config in configs})
    n_steps = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
    device = device_kind(sweep)
    low, high = cost.hours(device, n_slots=n_slots)
    slot = "a GPU" if device == "gpu" else "one CPU thread"
    return [
        f"tokens       {tokens} a trial in {n_steps} steps; {cost.sae_tokens:,} SAE-tokens in all",
        f"work         {cost.flops:.2g} FLOPs, forward and back (training's floor with sparse SAEs: "
        f"{cost.floor_flops:.2g})",
        f"memory       about {_bytes(cost.largest_pack_bytes)} for the largest pack",
        f"time         {_duration(low)} to {_duration(high)}, {n_slots} at a time with {slot} each; a guess from FLOPs",
    ]


def _count(things: Sequence[object], one: str, many: str | None = None) -> str:
    return f"{len(things):,} {one if len(things) == 1 else many or one + 's'}"


def _bytes(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def _duration(hours: float) -> str:
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    if hours < 1:
        return f"{hours * 60:.0f} min"
    return f"{hours:,.1f} h" if hours < 48 else f"{hours / 24:,.0f} days"
