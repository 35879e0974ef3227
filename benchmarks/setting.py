"""What is timed: one shape of sweep, and our pack on it, with latents that stay at a chosen L0.

The learning rate is 1e-12: every step does all its work, Adam's included, and no weight moves. The encoder biases are
set so that each element fires on its share of the tokens, and every batch holds the same rows in another order, so L0
is exact at every step.
"""

import argparse
import dataclasses
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trainer.builtin import builtin_model_folder
from trainer.config import DataConfig, ModelConfig, SAEConfig, TrainConfig, TrialConfig
from trainer.data.rows import Rows, rows_in_memory
from trainer.events import Stepping, Trained
from trainer.losses import E2EDownstreamLoss, E2ELoss, LocalLoss
from trainer.memory import keep_freed_memory
from trainer.models import FrozenModel, load_model
from trainer.pack import Pack
from trainer.step import LOOK_EVERY_STEPS

Loss = Literal["local", "e2e", "e2e_downstream"]
LOSSES: tuple[Loss, ...] = ("local", "e2e", "e2e_downstream")
LR = 1e-12
MAX_STEPS = 100_000
SHAPE_OPTIONS = ("n_saes", "l0", "layer", "batch_rows", "context", "model", "micro_batch_rows", "compute_dtype")


@dataclasses.dataclass(frozen=True)
class Setting:
    """One shape of sweep."""

    loss: Loss = "local"
    ratio: float = 16
    n_saes: int = 8
    l0: float = 30
    layer: int = 3
    batch_rows: int = 16
    context: int = 128
    model: str = "builtin"
    """Or a folder, as transformers saves models."""
    micro_batch_rows: int | None = None
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    device: str = "cpu"

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> "Setting":
        """The shape that options name; loss and ratio are each script's own affair."""
        return cls(**{name: getattr(arguments, name) for name in SHAPE_OPTIONS}, device=arguments.device)

    @property
    def tokens_per_step(self) -> int:
        return self.batch_rows * self.context

    @property
    def model_folder(self) -> Path:
        return builtin_model_folder() if self.model == "builtin" else Path(self.model)

    @property
    def d_model(self) -> int:
        return model_of(self).d_model

    def axes(self) -> dict[str, object]:
        """What tells its row from others."""
        names = ("loss", "ratio", "n_saes", "layer", "batch_rows", "context")
        return {name: getattr(self, name) for name in names}

    def of_one(self) -> "Setting":
        return dataclasses.replace(self, n_saes=1)


@cache
def _model(name: str, device: str, compute_dtype: str) -> FrozenModel:
    return load_model(ModelConfig(name=name), device=device, dtype=getattr(torch, compute_dtype))


def model_of(setting: Setting) -> FrozenModel:
    """The frozen model, loaded once."""
    return _model(setting.model, setting.device, setting.compute_dtype)


def rows_of(setting: Setting) -> Rows:
    """As many random rows as a batch has: each batch holds them all. The time depends on no token's value."""
    d_vocab = model_of(setting).d_vocab
    return rows_in_memory(n_train=setting.batch_rows, n_eval=1, context=setting.context, d_vocab=d_vocab)


def tokens_of(setting: Setting) -> Int[Tensor, "batch pos"]:
    return rows_of(setting).train_rows(0, setting.batch_rows).to(setting.device)


@torch.no_grad()
def activations_of(setting: Setting) -> Float[Tensor, "tokens d_model"]:
    """Of the batch at the setting's hookpoint."""
    model = model_of(setting)
    return model.blocks(model.embed(tokens_of(setting)), 0, setting.layer).flatten(0, 1).float()


def trials_of(setting: Setting) -> list[TrialConfig]:
    """One per SAE: another seed, another coefficient."""

    def loss(coeff: float) -> LocalLoss | E2ELoss | E2EDownstreamLoss:
        match setting.loss:
            case "local":
                return LocalLoss(sparsity_coeff=coeff)
            case "e2e":
                return E2ELoss(sparsity_coeff=coeff)
            case "e2e_downstream":
                return E2EDownstreamLoss(sparsity_coeff=coeff, downstream_coeff=2.5)

    train = TrainConfig(
        tokens=MAX_STEPS * setting.tokens_per_step, batch_rows=setting.batch_rows, lr=LR,
        compute_dtype=setting.compute_dtype,
    )  # fmt: skip
    return [
        TrialConfig(
            model=ModelConfig(name=setting.model), data=DataConfig(dataset="builtin", context=setting.context),
            hookpoint=f"blocks.{setting.layer}.hook_resid_pre", sae=SAEConfig(ratio=setting.ratio),
            loss=loss(1.0 + 0.1 * seed), train=train, seed=seed,
        )
        for seed in range(setting.n_saes)
    ]  # fmt: skip


def with_shape(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Adds options for the shape; `Setting.from_arguments` reads them."""
    for field in dataclasses.fields(Setting):
        if field.name in SHAPE_OPTIONS:
            kind = {"l0": float, "model": str, "compute_dtype": str}.get(field.name, int)
            name = "--" + field.name.replace("_", "-")
            parser.add_argument(name, type=kind, default=field.default, help=f"(default: {field.default})")
    return parser


class OurPack:
    """A pack that steps when called. `path` is the way its banks compute."""

    def __init__(
        self, setting: Setting, *, path: Literal["auto", "dense", "sparse"] = "auto", log_every_steps: int = 20
    ) -> None:
        keep_freed_memory()  # as a sweep's worker does
        self.pack = Pack(
            trials_of(setting), model=model_of(setting), rows=rows_of(setting), path=path,
            micro_batch_rows=setting.micro_batch_rows,
        )  # fmt: skip
        (state,) = self.pack.state.banks
        self.bank = state.bank
        self.l0 = hold_l0(self.bank.w_enc, self.bank.b_enc, activations_of(setting), l0=setting.l0)
        self.last_loss = float("nan")
        """Of the first SAE, at the last step whose curves were asked for."""
        self._events = self.pack.train(log_every_steps=log_every_steps)
        # The first step finds out how sparse the latents are, and compiles; off the CPU nobody looks before this one.
        for _ in range(2 if self.pack.may_wait else LOOK_EVERY_STEPS + 1):
            self()

    def __call__(self) -> None:
        """One optimizer step, as a sweep's worker takes it, with its curves every so many steps."""
        for event in self._events:
            if isinstance(event, Trained):
                self.last_loss = event.metrics[self.pack.trials[0].trial_id]["train/loss"]
            if isinstance(event, Stepping):
                return
        raise RuntimeError(f"{MAX_STEPS} steps are over")

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Parameters of the SAEs, "n_saes ..."."""
        return {name: tensor.detach() for name, tensor in self.bank.parameters.items()}


@torch.no_grad()
def hold_l0(
    w_enc: Float[Tensor, "n_saes d_sae d_model"],
    b_enc: Float[Tensor, "n_saes d_sae"],
    x: Float[Tensor, "tokens d_model"],
    *,
    l0: float,
) -> float:
    """Set biases so that each element fires on `l0 / d_sae` of these tokens. Returns the mean L0 that they give."""
    n_saes, d_sae, _ = w_enc.shape
    dice = torch.Generator().manual_seed(0)
    firing = 0
    for weights, bias in zip(w_enc, b_enc, strict=True):
        for rows, part in zip(weights.split(2048), bias.split(2048), strict=True):
            falling = (rows @ x.T).sort(dim=1, descending=True).values
            # on how many tokens each fires: a whole number whose mean is the share asked for
            wanted = (l0 / d_sae * len(x) + torch.rand(len(rows), generator=dice)).floor().long().clamp(0, len(x) - 1)
            wanted = wanted.to(x.device)[:, None]
            last = falling.gather(1, (wanted - 1).clamp(min=0))
            following = falling.gather(1, wanted)
            part.copy_(-torch.where(wanted > 0, (last + following) / 2, following + 1)[:, 0])
            firing += int((falling + part[:, None] > 0).sum())
    return firing / (n_saes * len(x))
