"""What packs and plans will take: seconds and bytes, each with what it rests on. Pure arithmetic.

`work.py` has the amounts, `rates.py` how fast a device does them, `pack_memory.py` the bytes. A pack's seconds are the
clean runs that all its SAEs share and what each SAE adds, so that they can be told without going through steps. Where a
loss becomes another on the way, seconds are those of each stage, and bytes those of the last, which needs most.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil

from orchestrator.planning.pack_memory import fewest_rows, pack_bytes, rows_at_once
from orchestrator.planning.planned import Pack
from orchestrator.planning.rates import SPREAD, Basis, Device, Phase, Rates, Work, guessed
from orchestrator.planning.shape import Bank, Path, Shape, banks_of, kind_label
from orchestrator.planning.slots import finishing_s
from orchestrator.planning.work import (
    clean_flops,
    clean_work,
    evaluation_work,
    floor_flops,
    init_flops,
    shared_evaluation_work,
    step_work,
    window_work,
)
from trainer.config import Stage, TrialConfig

MOST_EARLY_STEPS = 500
"""Latents are dense for about as long as the learning rate warms up, but no longer than this."""
CPU_PRODUCTS_PER_S = 5e10
"""For first weights, which are made on the CPU."""
RAY_STARTS_S = 5.0
"""Until it starts its first worker."""
RAY_BYTES = 8e7
"""Of a worker's process, beside what the same work takes without Ray."""


@dataclass(frozen=True)
class SAECost:
    """Seconds of one kind of SAE over a whole training."""

    clean_s: float
    """Of the clean runs it needs: a pack pays for its dearest."""
    bank_s: float
    """Of its bank, however many SAEs it has."""
    sae_s: float
    """Of each SAE."""


@dataclass(frozen=True)
class Costing:
    """All that costs depend on besides the trials."""

    shape: Shape
    rates: Rates
    device: Device = "cpu"
    memory_bytes: float = 8e9
    """Of a slot."""
    eval_every_tokens: int | None = None
    path: Path = "auto"
    on_ray: bool = False
    """Whether packs train in Ray's workers."""

    @property
    def launch_s(self) -> float:
        """Until the first worker starts."""
        return RAY_STARTS_S if self.on_ray else 0.0

    @property
    def base_bytes(self) -> float:
        """Of a worker's process before it has a model, where that counts."""
        return self.rates.base_bytes + (RAY_BYTES if self.on_ray and self.device == "cpu" else 0.0)

    @classmethod
    def guess(cls, facts: object) -> "Costing":
        """For a model of this shape on one CPU thread."""
        return cls(Shape.of(facts), guessed("cpu"))

    def sae(self, trial: TrialConfig) -> SAECost:
        """What one more SAE of this kind takes, wherever it trains."""
        rows = fewest_rows(trial, self.device)
        n_parts = ceil(trial.train.batch_rows / rows)
        eval_tokens = trial.data.eval_rows * trial.data.context
        window = trial.eval.alive_window_tokens
        n_evals = n_evaluations(trial, self.eval_every_tokens)
        per_part = rows * trial.data.context
        training = (
            clean_work(stage.trial, self.shape, tokens=trial.tokens_per_step, n_parts=n_parts) * stage.n_steps
            for stage in trial.stages
        )
        clean = (
            sum(training, Work())
            + clean_work(trial, self.shape, tokens=window, n_parts=window / per_part)
            + shared_evaluation_work(trial, self.shape, tokens=eval_tokens, n_parts=eval_tokens / per_part) * n_evals
        )
        one, two = (self._own_s(Bank(trial, n), n_parts, eval_tokens, window, n_evals, per_part) for n in (1, 2))
        init_s = init_flops(trial, self.shape) / CPU_PRODUCTS_PER_S
        return SAECost(clean_s=self.rates.seconds(clean), bank_s=2 * one - two, sae_s=two - one + init_s)

    def _own_s(
        self, bank: Bank, n_parts: int, eval_tokens: int, window: int, n_evals: int, tokens_per_part: int
    ) -> float:
        trial, kind = bank.trial, kind_label(bank.trial)
        measuring = evaluation_work(
            bank, self.shape, tokens=eval_tokens, n_parts=eval_tokens / tokens_per_part
        ) * n_evals + window_work(bank, self.shape, tokens=window, n_parts=window / tokens_per_part)
        training_s = sum(self._training_s(stage, bank.n_saes, n_parts) for stage in trial.stages)
        return training_s + self.rates.seconds(measuring) * self.rates.factor(kind, "evaluation")

    def _training_s(self, stage: Stage, n_saes: int, n_parts: int) -> float:
        bank, kind = Bank(stage.trial, n_saes), kind_label(stage.trial)
        n_dense = max(0, min(n_dense_steps(stage.trial, self.path), stage.stop) - stage.start)
        dense, sparse = (
            self.rates.seconds(step_work(bank, self.shape, n_parts=n_parts, dense=dense))
            * self.rates.factor(kind, "dense" if dense else "sparse")
            for dense in (True, False)
        )
        return n_dense * dense + (stage.n_steps - n_dense) * sparse


def n_evaluations(trial: TrialConfig, every_tokens: int | None) -> int:
    """Over the held-out rows, the last one included."""
    if every_tokens is None:
        return 1
    return 1 + len(range(0, trial.n_steps, max(1, every_tokens // trial.tokens_per_step)))


def n_dense_steps(trial: TrialConfig, path: Path) -> int:
    """Steps with many positive latents: the first ones, or all where the sparse path is off."""
    if path == "dense" or trial.loss.weights.sparsity_p != 1.0:
        return trial.n_steps
    return min(ceil(trial.train.warmup_fraction * trial.n_steps), MOST_EARLY_STEPS)


@dataclass(frozen=True)
class PackCost:
    """Training of one pack with its measurements."""

    pack_id: str
    n_trials: int
    sae_tokens: int
    """Tokens trained on, summed over its trials."""
    floor_flops: float
    """What training takes at least: clean run, encoder products, blocks above."""
    seconds: float
    memory_bytes: float
    micro_batch_rows: int
    basis: Basis


@dataclass(frozen=True)
class PlanCost:
    """All packs of a plan, as they would run from first to last."""

    packs: tuple[PackCost, ...]
    device: Device = "cpu"
    launch_s: float = 0.0
    """Until the first worker starts."""
    start_s: float = 0.0
    """Of each worker's process. On a CPU one process takes pack after pack; on a GPU each pack has its own."""

    @property
    def sae_tokens(self) -> int:
        return sum(pack.sae_tokens for pack in self.packs)

    @property
    def floor_flops(self) -> float:
        return sum(pack.floor_flops for pack in self.packs)

    @property
    def slot_seconds(self) -> float:
        """Of all packs together: what is paid for."""
        return sum(pack.seconds for pack in self.packs)

    @property
    def largest_pack_bytes(self) -> float:
        return max(pack.memory_bytes for pack in self.packs)

    @cached_property
    def basis(self) -> Basis:
        """The weakest of its packs'."""
        return max((pack.basis for pack in self.packs), key=lambda basis: SPREAD[basis])

    @property
    def spread(self) -> float:
        """By which the time may be longer or shorter."""
        spread = SPREAD[self.basis]
        return 2 * spread if self.basis == "guessed" and self.device == "gpu" else spread

    def seconds(self, *, n_slots: int = 1) -> float:
        """From the launch to the end of the last pack, so many packs side by side."""
        each_s = self.start_s if self.device == "gpu" else 0.0
        once_s = self.launch_s + self.start_s - each_s
        return once_s + finishing_s([each_s + pack.seconds for pack in self.packs], n_slots)

    def range_s(self, *, n_slots: int = 1) -> tuple[float, float]:
        """Shortest and longest."""
        seconds = self.seconds(n_slots=n_slots)
        return seconds / self.spread, seconds * self.spread


def plan_cost(packs: Iterable[Pack], facts: object, costing: Costing | None = None) -> PlanCost:
    """The cost of every pack of a plan; without `costing`, guessed from the model's shape alone."""
    costing = costing or Costing.guess(facts)
    costs = tuple(pack_cost(pack.pack_id, [t.config for t in pack.trials], costing) for pack in packs)
    return PlanCost(costs, costing.device, costing.launch_s, costing.rates.start_s)


def pack_cost(pack_id: str, trials: Sequence[TrialConfig], costing: Costing) -> PackCost:
    """The cost of trials that train together, in a process that has started."""
    banks, shape = banks_of(trials), costing.shape
    each = [(bank.n_saes, costing.sae(bank.trial)) for bank in banks]
    tokens = trials[0].n_steps * trials[0].tokens_per_step
    floors = [_floor_flops(bank, shape) for bank in banks]
    rows = rows_at_once(
        banks, shape, device=costing.device, memory_bytes=costing.memory_bytes, base_bytes=costing.base_bytes
    )
    return PackCost(
        pack_id=pack_id,
        n_trials=len(trials),
        sae_tokens=tokens * len(trials),
        floor_flops=trials[0].tokens_per_step * (max(clean for clean, _ in floors) + sum(own for _, own in floors)),
        seconds=max(cost.clean_s for _, cost in each) + sum(cost.bank_s + n * cost.sae_s for n, cost in each),
        memory_bytes=pack_bytes(banks, shape, device=costing.device, rows=rows, base_bytes=costing.base_bytes),
        micro_batch_rows=rows,
        basis=max((_basis(bank.trial, costing) for bank in banks), key=lambda basis: SPREAD[basis]),
    )


def _floor_flops(bank: Bank, shape: Shape) -> tuple[float, float]:
    """Of the clean runs that a bank needs, and its own; over all steps, per token of a step."""
    stages = bank.trial.stages
    clean = sum(stage.n_steps * clean_flops(stage.trial, shape) for stage in stages)
    return clean, bank.n_saes * sum(stage.n_steps * floor_flops(stage.trial, shape) for stage in stages)


def _basis(trial: TrialConfig, costing: Costing) -> Basis:
    """The weakest of its stages'."""
    all_dense = n_dense_steps(trial, costing.path) == trial.n_steps
    phase: Phase = "dense" if all_dense else "sparse"
    found: list[Basis] = [costing.rates.basis(kind_label(stage.trial), phase) for stage in trial.stages]
    return max(found, key=lambda basis: SPREAD[basis])
