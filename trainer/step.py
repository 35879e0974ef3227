"""One optimizer step of one bank: SAE run, loss terms, gradients, clipping, Adam."""

from dataclasses import dataclass
from functools import cached_property

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from trainer.clean import Capture, CleanRun, run_above
from trainer.config import SAEConfig, TrainConfig, TrialConfig
from trainer.losses.terms import kl_from_normed, mse_term
from trainer.models import FrozenModel
from trainer.optimizer import adam_step_, clip_, gradient_norms
from trainer.sae.bank import Bank
from trainer.sae.density import Path
from trainer.sae.forward import bank_forward
from trainer.schedule import lr_factor
from trainer.state import BankState

GRAD_NORM_AFTER = 0.025
"""Share of the steps after which gradient norms are averaged: the paper starts at 10k of 400k samples (Table 2)."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}


@dataclass(frozen=True)
class BankSpec:
    """Trials that train as one bank: same hookpoint, shape, optimiser settings, and need of the blocks above."""

    trials: tuple[TrialConfig, ...]
    n_layers: int

    @property
    def layer(self) -> int:
        return self.trials[0].layer

    @property
    def sae(self) -> SAEConfig:
        return self.trials[0].sae

    @property
    def train(self) -> TrainConfig:
        return self.trials[0].train

    @property
    def n_steps(self) -> int:
        return self.trials[0].n_steps

    @property
    def compute_dtype(self) -> torch.dtype:
        return DTYPES[self.train.compute_dtype]

    @property
    def master_dtype(self) -> torch.dtype:
        return torch.float64 if self.compute_dtype == torch.float64 else torch.float32

    @cached_property
    def uses_kl(self) -> bool:
        return self.trials[0].loss.weights.kl > 0

    @cached_property
    def uses_downstream(self) -> bool:
        return self.trials[0].loss.weights.downstream > 0

    @property
    def sparsity_p(self) -> float:
        return self.trials[0].loss.weights.sparsity_p

    @property
    def later_layers(self) -> tuple[int, ...]:
        """Hookpoints after the SAE's that the downstream term covers: inputs of the blocks above its own (X3)."""
        return tuple(range(self.layer + 1, self.n_layers))

    @property
    def capture(self) -> Capture:
        """What a training step needs of the clean run."""
        later = self.later_layers if self.uses_downstream else ()
        return Capture(layers=frozenset((self.layer, *later)), output=self.uses_kl)

    def initial_state(self, *, d_model: int, device: torch.device) -> BankState:
        seeds = [trial.seed for trial in self.trials]
        return BankState.initial(
            Bank.initial(self.sae, d_model=d_model, seeds=seeds, dtype=self.master_dtype, device=device)
        )


def bank_specs(trials: tuple[TrialConfig, ...], *, n_layers: int) -> tuple[BankSpec, ...]:
    """Group trials into banks, in the order in which their first members come."""
    groups: dict[object, list[TrialConfig]] = {}
    for trial in trials:
        weights = trial.loss.weights
        key = (trial.hookpoint, trial.sae, trial.train, weights.kl > 0, weights.downstream > 0, weights.sparsity_p)
        groups.setdefault(key, []).append(trial)
    return tuple(BankSpec(tuple(group), n_layers) for group in groups.values())


@dataclass(frozen=True)
class Terms:
    """Loss terms of one batch before their weights, one number per SAE. `kl` and `downstream_mse` only where used."""

    loss: Float[Tensor, " n_saes"]
    sparsity: Float[Tensor, " n_saes"]
    local_mse: Float[Tensor, " n_saes"]
    kl: Float[Tensor, " n_saes"] | None
    downstream_mse: Float[Tensor, " n_saes"] | None
    l0: Float[Tensor, " n_saes"]
    firing_counts: Tensor


def loss_terms(spec: BankSpec, bank: Bank, clean: CleanRun, model: FrozenModel, *, path: Path = "dense") -> Terms:
    """Losses of Braun et al. (equations 2 to 5) of every SAE of the bank on one batch; `loss` carries gradients."""
    dtype = spec.master_dtype
    sae_input = clean.residuals[spec.layer]
    n_rows, d_model = sae_input.shape[0], sae_input.shape[-1]
    x = rearrange(sae_input, "batch pos d_model -> (batch pos) d_model").to(dtype)
    out = bank_forward(bank, x, path=path, compute_dtype=spec.compute_dtype, p=spec.sparsity_p)

    weights = [trial.loss.weights for trial in spec.trials]

    def column(name: str) -> Tensor:
        return torch.tensor([getattr(weight, name) for weight in weights], dtype=dtype, device=x.device)

    sparsity = out.l1 / d_model
    loss = column("sparsity") * sparsity
    local_weights = [weight.local for weight in weights]
    with torch.set_grad_enabled(any(local_weights) and torch.is_grad_enabled()):
        local_mse = mse_term(target=x, prediction=out.output)
    if any(local_weights):
        loss = loss + column("local") * local_mse
    kl = downstream_mse = None
    if spec.uses_kl or spec.uses_downstream:
        spliced = rearrange(out.output, "n_saes (batch pos) d_model -> (n_saes batch) pos d_model", batch=n_rows)
        later = spec.later_layers if spec.uses_downstream else ()
        run = run_above(model, spliced.to(sae_input.dtype), layer=spec.layer, keep=later, output=spec.uses_kl)

        def per_sae(residual: Tensor) -> Tensor:
            return rearrange(residual, "(n_saes batch) pos d_model -> n_saes (batch pos) d_model", batch=n_rows)

        if spec.uses_kl:
            assert run.normed is not None
            assert clean.normed is not None
            kl = kl_from_normed(
                clean=clean.normed.flatten(0, 1), sae=per_sae(run.normed), unembedding=model.unembedding
            ).to(dtype)
            loss = loss + column("kl") * kl
        if spec.uses_downstream:
            each = [
                mse_term(
                    target=clean.residuals[k].flatten(0, 1).to(dtype), prediction=per_sae(run.residuals[k]).to(dtype)
                )
                for k in later
            ]
            downstream_mse = torch.stack(each).mean(0)
            loss = loss + column("downstream") * downstream_mse
    return Terms(
        loss=loss,
        sparsity=sparsity.detach(),
        local_mse=local_mse.detach(),
        kl=None if kl is None else kl.detach(),
        downstream_mse=None if downstream_mse is None else downstream_mse.detach(),
        l0=out.l0,
        firing_counts=out.firing_counts,
    )


@dataclass(frozen=True)
class Stepped:
    """What a step did: mean terms over its micro-batches, gradient norms before clipping, and who diverged."""

    terms: Terms
    grad_norm: Float[Tensor, " n_saes"]
    lr: float
    diverged: tuple[int, ...]
    """Positions in the bank whose loss or gradient is not finite for the first time."""


def bank_step(
    spec: BankSpec, state: BankState, micro_batches: list[CleanRun], model: FrozenModel, *, step: int, tokens_seen: int
) -> Stepped:
    """Optimizer step number `step` (the first is 0) of every SAE of a bank, in place.

    An SAE whose loss or gradient is not finite is marked in `state.active` and reported; from then on its gradients
    are zero and nothing more is said of it.
    """
    parameters = list(state.bank.parameters.values())
    gradients: list[Tensor] | None = None
    all_terms: list[Terms] = []
    for clean in micro_batches:
        terms = loss_terms(spec, state.bank, clean, model, path=state.switch.path)
        parts = torch.autograd.grad(terms.loss.sum() / len(micro_batches), parameters)
        gradients = list(parts) if gradients is None else [a.add_(b) for a, b in zip(gradients, parts, strict=True)]
        all_terms.append(terms)
    assert gradients is not None
    terms = _mean_terms(all_terms)

    norms = gradient_norms(gradients)
    finite = torch.isfinite(norms) & torch.isfinite(terms.loss)
    newly_bad = state.active & ~finite
    state.active &= finite
    clip_(gradients, norms=norms, clip_norm=spec.train.clip_norm, keep=state.active)
    lr = spec.train.lr * lr_factor(spec.train, step=step, n_steps=spec.n_steps)
    adam_step_(parameters, gradients, list(state.moments.values()), step=step + 1, lr=lr)

    state.switch = state.switch.after(step=step + 1, density=terms.l0[state.active].mean().item() / state.bank.d_sae)
    state.last_fired.masked_fill_(terms.firing_counts > 0, tokens_seen)
    if step >= GRAD_NORM_AFTER * spec.n_steps:
        state.grad_norm_sum += norms
        state.grad_norm_steps += 1
    return Stepped(terms, norms, lr, tuple(int(i) for i in newly_bad.nonzero().flatten()))


def _mean_terms(parts: list[Terms]) -> Terms:
    def mean(name: str) -> Tensor | None:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else torch.stack(values).detach().mean(0)

    named = {name: mean(name) for name in ("loss", "sparsity", "local_mse", "kl", "downstream_mse", "l0")}
    return Terms(**named, firing_counts=torch.stack([part.firing_counts for part in parts]).sum(0))  # type: ignore[arg-type]
