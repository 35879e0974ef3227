"""One optimizer step of one bank: SAE run, loss terms, gradients, clipping, Adam."""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from trainer.clean import CleanRun, run_above
from trainer.losses.terms import kl_from_normed, mse_term
from trainer.models import FrozenModel
from trainer.optimizer import adam_step_, clip_, gradient_norms
from trainer.sae.bank import Bank
from trainer.sae.density import Path
from trainer.sae.forward import bank_forward
from trainer.sae.nonzeros import Room
from trainer.schedule import lr_factor
from trainer.spec import BankSpec
from trainer.state import DIVERGED_TERMS, BankState

GRAD_NORM_AFTER = 0.025
"""Share of the steps after which gradient norms are averaged: the paper starts at 10k of 400k samples (Table 2)."""

LOOK_EVERY_STEPS = 32
"""Where reading a number makes a device wait: how often density is looked at. The same steps whoever listens."""


KL_AT_LEAST = 1e-8
"""Nats; a smaller one is scaled as if it were this."""


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


def loss_terms(
    spec: BankSpec,
    bank: Bank,
    clean: CleanRun,
    model: FrozenModel,
    *,
    path: Path = "dense",
    room: Room | None = None,
    kl_scale: Float[Tensor, " n_saes"] | None = None,
) -> Terms:
    """Losses of Braun et al. (equations 2 to 5) of every SAE of the bank on one batch; `loss` carries gradients.

    `room`: as for `sparse_bank`. `kl_scale`: for a KL term that is scaled to the local one; else that of this batch.
    """
    dtype = spec.master_dtype
    sae_input = clean.residuals[spec.layer]
    n_rows, d_model = sae_input.shape[0], sae_input.shape[-1]
    x = rearrange(sae_input, "batch pos d_model -> (batch pos) d_model").to(dtype)
    out = bank_forward(bank, x, path=path, compute_dtype=spec.compute_dtype, p=spec.sparsity_p, room=room)

    sparsity = out.l1 / d_model
    loss = spec.weight_column("sparsity", x) * sparsity
    with torch.set_grad_enabled(spec.uses_local and torch.is_grad_enabled()):
        local_mse = mse_term(target=x, prediction=out.output)
    if spec.uses_local:
        loss = loss + spec.weight_column("local", x) * local_mse
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
            scaled = kl
            if spec.kl_as_local:
                scaled = (_kl_scale(local_mse, kl) if kl_scale is None else kl_scale) * kl
            loss = loss + spec.weight_column("kl", x) * scaled
        if spec.uses_downstream:
            each = [
                mse_term(
                    target=clean.residuals[k].flatten(0, 1).to(dtype), prediction=per_sae(run.residuals[k]).to(dtype)
                )
                for k in later
            ]
            downstream_mse = torch.stack(each).mean(0)
            loss = loss + spec.weight_column("downstream", x) * downstream_mse
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
    """What a step did: mean terms over its micro-batches, and gradient norms before clipping."""

    terms: Terms
    grad_norm: Float[Tensor, " n_saes"]
    lr: float


def bank_step(
    spec: BankSpec,
    state: BankState,
    micro_batches: list[CleanRun],
    model: FrozenModel,
    *,
    step: int,
    tokens_seen: int,
    may_wait: bool = True,
) -> Stepped:
    """Optimizer step number `step` (the first is 0) of every SAE of a bank, in place.

    An SAE whose loss or gradient is not finite is marked in `state`; from then on its gradients are zero. Without
    `may_wait` no number of this step is read by the host, but for the density every `LOOK_EVERY_STEPS`.
    """
    if step == spec.since > 0:
        state.begin_anew()
    parameters = list(state.bank.parameters.values())
    terms, gradients = _gradients(spec, state, micro_batches, model)
    while not state.room.was_enough():
        terms, gradients = _gradients(spec, state, micro_batches, model)
    norms = gradient_norms(gradients)
    _mark_diverged(state, terms, norms=norms, step=step + 1)
    clip_(gradients, norms=norms, clip_norm=spec.train.clip_norm, keep=state.active, may_wait=may_wait)
    lr = spec.train.lr * lr_factor(spec.train, step=step, n_steps=spec.n_steps)
    adam_step_(parameters, gradients, list(state.moments.values()), step=step - spec.since + 1, lr=lr)

    if not state.switch.held and (may_wait or (step + 1) % LOOK_EVERY_STEPS == 0):
        state.switch = state.switch.after(step=step + 1, density=_density(state, terms).item())
    state.last_fired.masked_fill_(terms.firing_counts > 0, tokens_seen)
    if step >= GRAD_NORM_AFTER * spec.n_steps:
        state.grad_norm_sum += norms
        state.grad_norm_steps += 1
    return Stepped(terms, norms, lr)


def _gradients(
    spec: BankSpec, state: BankState, micro_batches: list[CleanRun], model: FrozenModel
) -> tuple[Terms, list[Tensor]]:
    """Terms and gradients of a batch; of no use where the room was not enough."""
    parameters = list(state.bank.parameters.values())
    gradients: list[Tensor] | None = None
    all_terms: list[Terms] = []
    kl_scale = None
    if spec.kl_as_local and len(micro_batches) > 1:  # that of the whole batch, so first of all its terms
        kl_scale = _kl_scale_of(spec, state, micro_batches, model)
    for clean in micro_batches:
        terms = loss_terms(spec, state.bank, clean, model, path=state.switch.path, room=state.room, kl_scale=kl_scale)
        parts = torch.autograd.grad(terms.loss.sum() / len(micro_batches), parameters)
        gradients = list(parts) if gradients is None else [a.add_(b) for a, b in zip(gradients, parts, strict=True)]
        all_terms.append(terms)
    assert gradients is not None
    return _mean_terms(all_terms), gradients


@torch.no_grad()
def _kl_scale_of(
    spec: BankSpec, state: BankState, micro_batches: list[CleanRun], model: FrozenModel
) -> Float[Tensor, " n_saes"]:
    path, room = state.switch.path, state.room
    terms = _mean_terms([loss_terms(spec, state.bank, each, model, path=path, room=room) for each in micro_batches])
    assert terms.kl is not None
    return _kl_scale(terms.local_mse, terms.kl)


def _kl_scale(local_mse: Float[Tensor, " n_saes"], kl: Float[Tensor, " n_saes"]) -> Float[Tensor, " n_saes"]:
    """What makes KL as large as the local error; a number to the gradient."""
    return (local_mse / kl.clamp(min=KL_AT_LEAST)).detach()


def _mark_diverged(state: BankState, terms: Terms, *, norms: Float[Tensor, " n_saes"], step: int) -> None:
    finite = torch.isfinite(norms) & torch.isfinite(terms.loss)
    newly = state.active & ~finite
    state.active &= finite
    state.diverged_at.masked_fill_(newly, step)
    named = {**vars(terms), "grad_norm": norms}
    values = [norms.new_full(norms.shape, torch.nan) if named[name] is None else named[name] for name in DIVERGED_TERMS]
    found = torch.stack([value.to(state.diverged_terms.dtype) for value in values], dim=-1)
    state.diverged_terms.copy_(torch.where(newly[:, None], found, state.diverged_terms))


def _density(state: BankState, terms: Terms) -> Float[Tensor, ""]:
    """Mean share of positive latents of the SAEs that train; not a number where none does."""
    return torch.where(state.active, terms.l0, 0.0).sum() / state.active.sum() / state.bank.d_sae


def _mean_terms(parts: list[Terms]) -> Terms:
    def mean(name: str) -> Tensor | None:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else torch.stack(values).detach().mean(0)

    named = {name: mean(name) for name in ("loss", "sparsity", "local_mse", "kl", "downstream_mse", "l0")}
    return Terms(**named, firing_counts=torch.stack([part.firing_counts for part in parts]).sum(0))  # type: ignore[arg-type]
