"""What a trial is. Immutable, checked once, and hashed into the trial's name.

Everything here matters to the numbers a trial produces. Where it runs, where it writes and how often it reports
live elsewhere, so that they never change which trial it is.
"""

import hashlib
import json
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, NonNegativeInt, PositiveInt

from trainer.losses import LossConfig
from trainer.values import Fraction, Frozen, PositiveFinite

SCRATCH = "scratch"


class ModelConfig(Frozen):
    """The frozen language model."""

    name: Annotated[str, Field(min_length=1)]
    """`builtin`, a transformers hub id, or a folder."""
    revision: str = "main"
    """Branch, tag or commit on the hub; ignored for folders."""
    center_residual: bool = False
    """Subtract its mean over `d_model` from the residual stream (same logits), as the paper's host model has it."""


class DataConfig(Frozen):
    """Rows of tokens to train and to evaluate on."""

    dataset: Annotated[str, Field(min_length=1)]
    """`builtin`, a datasets hub id, a folder, or a text file."""
    context: PositiveInt
    """Tokens per row."""
    split: str = "train"
    eval_split: str = "same"
    """`same` sets evaluation rows of `split` aside; any other value names a split of its own."""
    column: str = "auto"
    """Column with text (string) or with tokens (list of integers); `auto` looks for the usual names."""
    max_rows: PositiveInt | Literal["all"] = "all"
    """Rows of `split` to prepare, evaluation rows that are set aside included."""
    seed: NonNegativeInt = 0
    """Order of the training rows."""
    eval_rows: PositiveInt = 500
    eval_seed: NonNegativeInt = 0
    """Which rows are evaluated on. Independent of `seed`."""


class SAEConfig(Frozen):
    """Shape and initialisation of the dictionary."""

    ratio: PositiveFinite
    """`d_sae / d_model`."""
    activation: Literal["relu"] = "relu"
    decoder_init: Literal["orthogonal", "kaiming"] = "orthogonal"
    start_from: Annotated[str, Field(min_length=1, exclude_if=lambda value: value == SCRATCH)] = SCRATCH
    """`scratch`: as its seed and `decoder_init` say. Else the `weights_id` of the trained SAE that it starts as."""

    def d_sae(self, d_model: int) -> int:
        """Dictionary elements for a residual stream of width `d_model`."""
        return max(1, round(self.ratio * d_model))


class TrainConfig(Frozen):
    """Optimisation. Defaults are the paper's (appendix D) where they do not depend on scale."""

    tokens: PositiveInt
    batch_rows: PositiveInt
    """Rows of `data.context` tokens per optimizer step."""
    lr: PositiveFinite = 5e-4
    schedule: Literal["cosine", "trapezoid"] = "cosine"
    """Warm-up, then half a cosine to `final_lr_fraction`; or warm-up, constant, linear cool-down to it."""
    warmup_fraction: Fraction = 0.05
    cooldown_fraction: Fraction = 0.2
    """Share of the steps that a trapezoid's cool-down takes. Unused by `cosine`."""
    final_lr_fraction: Fraction = 0.1
    clip_norm: PositiveFinite | Literal["off"] = 10.0
    """Largest gradient norm of one SAE."""
    compute_dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    """Precision of matrix products. Master weights are float32 (float64 if this is)."""


class EvalConfig(Frozen):
    """What the final metrics are measured over."""

    alive_window_tokens: PositiveInt = 500_000
    """Training tokens over which, with frozen weights, an element must fire once to count as alive."""


class Stage(NamedTuple):
    """Steps `start` to `stop - 1` of a trial."""

    start: int
    stop: int
    trial: "TrialConfig"
    """The trial as it is then, with a loss that stays what it is. Its id means nothing."""

    @property
    def n_steps(self) -> int:
        return self.stop - self.start


class TrialConfig(Frozen):
    """One SAE setting: one trial, one MLflow run, one row."""

    model: ModelConfig
    data: DataConfig
    hookpoint: Annotated[str, Field(pattern=r"^blocks\.(0|[1-9]\d*)\.hook_resid_pre$")]
    sae: SAEConfig
    loss: LossConfig
    train: TrainConfig
    eval: EvalConfig = EvalConfig()
    seed: NonNegativeInt = 0
    """Initialisation of the SAE."""

    @property
    def layer(self) -> int:
        """Block whose input the SAE replaces."""
        return int(self.hookpoint.split(".")[1])

    @property
    def tokens_per_step(self) -> int:
        return self.train.batch_rows * self.data.context

    @property
    def n_steps(self) -> int:
        """Whole optimizer steps in `train.tokens` (the paper's code rounds down too)."""
        return self.train.tokens // self.tokens_per_step

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What it is one after another: several where its loss becomes another on the way, else itself throughout."""
        ends = [0, *(round(until * self.n_steps) for until, _ in self.loss.stages)]
        stages = [
            Stage(start, stop, self if loss is self.loss else self.model_copy(update={"loss": loss}))
            for (start, stop), (_, loss) in zip(pairwise(ends), self.loss.stages, strict=True)
        ]
        return tuple(stage for stage in stages if stage.n_steps) or (stages[-1],)

    @property
    def bank_key(self) -> tuple[object, ...]:
        """Equal for trials that train as one bank where they share a pack: same hookpoint, shape, optimiser settings,
        and at each step the same need of the blocks above."""
        needs = [(stage.start, *stage.trial.loss.weights.needs) for stage in self.stages]
        return self.hookpoint, self.sae, self.train, tuple(needs), self.loss.sparsity_p

    @property
    def run_name(self) -> str:
        """Short name for people, such as `L3-e2e-c0.5-s0`."""
        return f"L{self.layer}-{self.loss.kind}-c{self.loss.sparsity_coeff:g}-s{self.seed}"

    @cached_property
    def trial_id(self) -> str:
        """Sixteen hex digits of the SHA-256 of the canonical JSON of this config."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def shares_batches_with(self) -> str:
        """Equal for trials that may be packed together: same model, rows, batch shape, steps and precision."""
        shared = {
            "model": self.model.model_dump(mode="json"),
            "data": self.data.model_dump(mode="json"),
            "batch_rows": self.train.batch_rows,
            "n_steps": self.n_steps,
            "compute_dtype": self.train.compute_dtype,
            "alive_window_tokens": self.eval.alive_window_tokens,
        }
        return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:16]
