"""What a plan will cost: FLOPs, bytes, and a range of hours. Pure arithmetic on configs and the model's shape.

Forward multiply-adds count as 2 FLOPs. With d = d_model and m = d_sae, a token of a trial costs its share of the
pack's one clean run; the SAE forward and back (4 d m: the encoder's dense product, and about as much again for all that
only positive latents need, docs/decisions/0005-sparse-latents.md); and, for losses that look past the SAE, the blocks
above it forward and back to their input.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from orchestrator.planned import Pack
from trainer.config import TrialConfig

TRAINED_SAE = 4
"""Products of d_model by d_sae per trained token, in FLOPs; the floor is `ENCODER`: the dense product alone."""
ENCODER = 2
FORWARD_SAE = 4
TOKENS_AT_ONCE = 2048
"""Tokens whose activations are held at the same time; larger batches are cut into parts."""
FLOAT_BYTES = 4
FLOPS_PER_SLOT: dict[str, tuple[float, float]] = {"cpu": (1.5e10, 6e10), "gpu": (1e13, 1e14)}
"""What one slot does per second, slow and fast: a CPU thread (measured on the built-in model), a data-centre GPU (the
slow end is Table 6 of the paper: an A100 in float32)."""


class Shape(NamedTuple):
    """The model's numbers that costs follow from."""

    n_layers: int
    d_model: int
    d_vocab: int
    n_context: int
    d_mlp: int

    @classmethod
    def of(cls, facts: object) -> "Shape":
        """From anything that has these fields; `d_mlp` is 4 d_model where it is not told."""
        n_layers, d_model, d_vocab, n_context = (
            int(getattr(facts, name)) for name in ("n_layers", "d_model", "d_vocab", "n_context")
        )
        return cls(n_layers, d_model, d_vocab, n_context, int(getattr(facts, "d_mlp", 4 * d_model)))

    def block(self, context: int) -> float:
        """Forward FLOPs per token of one block: four projections, the MLP, attention over `context` positions."""
        d = self.d_model
        return 8.0 * d * d + 4.0 * d * self.d_mlp + 4.0 * d * context

    @property
    def unembedding(self) -> float:
        """Forward FLOPs per token."""
        return 2.0 * self.d_model * self.d_vocab

    @property
    def n_parameters(self) -> int:
        """Weights of the model, roughly: without norms and biases, a tied embedding once."""
        per_block = 4 * self.d_model**2 + 2 * self.d_model * self.d_mlp
        return self.n_layers * per_block + (self.d_vocab + self.n_context) * self.d_model


@dataclass(frozen=True)
class PackCost:
    """Training of one pack with its final measurements."""

    pack_id: str
    n_trials: int
    sae_tokens: int
    """Tokens trained on, summed over its trials."""
    train_flops: float
    eval_flops: float
    floor_flops: float
    """What training would take at least: a sparse SAE needs its dense encoder only."""
    memory_bytes: float

    @property
    def flops(self) -> float:
        return self.train_flops + self.eval_flops


@dataclass(frozen=True)
class PlanCost:
    """Sums over packs."""

    packs: tuple[PackCost, ...]

    @property
    def sae_tokens(self) -> int:
        return sum(pack.sae_tokens for pack in self.packs)

    @property
    def flops(self) -> float:
        return sum(pack.flops for pack in self.packs)

    @property
    def floor_flops(self) -> float:
        return sum(pack.floor_flops for pack in self.packs)

    @property
    def largest_pack_bytes(self) -> float:
        return max(pack.memory_bytes for pack in self.packs)

    def hours(self, device: Literal["cpu", "gpu"], *, n_slots: int = 1) -> tuple[float, float]:
        """Short and long guess of the wall time with `n_slots` packs side by side, in hours.

        No schedule beats an even share for each slot, or the dearest pack.
        """
        slow, fast = FLOPS_PER_SLOT[device]
        work = max(self.flops / n_slots, max(pack.flops for pack in self.packs))
        return work / fast / 3600, work / slow / 3600


def plan_cost(packs: Iterable[Pack], facts: object) -> PlanCost:
    """The cost of every pack of a plan; `facts` is the model's shape."""
    shape = Shape.of(facts)
    return PlanCost(tuple(pack_cost(pack.pack_id, [t.config for t in pack.trials], shape) for pack in packs))


def pack_cost(pack_id: str, trials: Sequence[TrialConfig], shape: Shape) -> PackCost:
    """The cost of trials that train together; they share batches, so the first speaks for all."""
    tokens = trials[0].n_steps * trials[0].tokens_per_step
    clean = max(clean_flops(trial, shape) for trial in trials)
    eval_tokens = trials[0].data.eval_rows * trials[0].data.context
    window = trials[0].eval.alive_window_tokens
    whole = _forward(shape, trials[0].data.context)
    below = max(trial.layer for trial in trials) * shape.block(trials[0].data.context)
    return PackCost(
        pack_id=pack_id,
        n_trials=len(trials),
        sae_tokens=tokens * len(trials),
        train_flops=tokens * (clean + sum(own_flops(trial, shape) for trial in trials)),
        eval_flops=eval_tokens * (whole + sum(eval_flops(trial, shape) for trial in trials))
        + window * (below + sum(ENCODER * _dm(trial, shape) for trial in trials)),
        floor_flops=tokens * (clean + sum(own_flops(trial, shape, sae=ENCODER) for trial in trials)),
        memory_bytes=shared_bytes(trials[0], shape) + sum(own_bytes(trial, shape) for trial in trials),
    )


def clean_flops(trial: TrialConfig, shape: Shape) -> float:
    """Per token, of the clean run that a trial needs: up to its layer, or all of it. A pack shares the longest."""
    weights = trial.loss.weights
    if weights.kl > 0:
        return _forward(shape, trial.data.context)
    n_blocks = shape.n_layers - 1 if weights.downstream > 0 else trial.layer
    return n_blocks * shape.block(trial.data.context)


def own_flops(trial: TrialConfig, shape: Shape, *, sae: int = TRAINED_SAE) -> float:
    """Per token, of what a trial does not share: its SAE, and the model above it forward and back."""
    weights = trial.loss.weights
    above = 0.0
    if weights.needs_blocks_above:
        above = (shape.n_layers - trial.layer) * shape.block(trial.data.context)
    if weights.kl > 0:
        above += shape.unembedding
    return 2 * above + sae * _dm(trial, shape)


def eval_flops(trial: TrialConfig, shape: Shape) -> float:
    """Per token, of measuring a trained SAE; the clean run is shared."""
    above = (shape.n_layers - trial.layer) * shape.block(trial.data.context) + shape.unembedding
    return above + FORWARD_SAE * _dm(trial, shape)


def trial_flops(trial: TrialConfig, shape: Shape) -> float:
    """What a trial adds to its pack. Packs are balanced by it."""
    eval_tokens = trial.data.eval_rows * trial.data.context
    window = trial.eval.alive_window_tokens * ENCODER * _dm(trial, shape)
    train = trial.n_steps * trial.tokens_per_step * own_flops(trial, shape)
    return train + eval_tokens * eval_flops(trial, shape) + window


def own_bytes(trial: TrialConfig, shape: Shape) -> float:
    """Memory of one SAE: parameters, gradients, two moments, and activations of the tokens held at once."""
    d_sae = trial.sae.d_sae(shape.d_model)
    n_parameters = 2 * d_sae * shape.d_model + d_sae + shape.d_model
    scale = 2 if trial.train.compute_dtype == "float64" else 1
    tokens = min(TOKENS_AT_ONCE, trial.tokens_per_step)
    per_token = 3 * d_sae + 4 * shape.d_model  # latents before and after the ReLU and their gradient; residuals
    if trial.loss.weights.needs_blocks_above:
        per_token += (shape.n_layers - trial.layer) * (10 * shape.d_model + 2 * shape.d_mlp)
    if trial.loss.weights.kl > 0:
        per_token += 2 * shape.d_vocab
    return float(FLOAT_BYTES) * scale * (4 * n_parameters + tokens * per_token)


def shared_bytes(trial: TrialConfig, shape: Shape) -> float:
    """Memory that a pack needs once: the frozen model, and the clean run of the tokens held at once."""
    scale = 2 if trial.train.compute_dtype == "float64" else 1
    tokens = min(TOKENS_AT_ONCE, trial.tokens_per_step)
    per_token = shape.d_vocab + shape.n_layers * shape.d_model
    return float(FLOAT_BYTES) * scale * (shape.n_parameters + tokens * per_token)


def _forward(shape: Shape, context: int) -> float:
    return shape.n_layers * shape.block(context) + shape.unembedding


def _dm(trial: TrialConfig, shape: Shape) -> float:
    return float(shape.d_model) * trial.sae.d_sae(shape.d_model)
