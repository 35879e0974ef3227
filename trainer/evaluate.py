"""Metrics of every SAE of a pack over one fixed evaluation set; the clean pass runs once per batch."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import linear

from trainer.clean import Capture, CleanRun, clean_run, run_above
from trainer.data import Rows
from trainer.elements import Collector
from trainer.losses.terms import chunk_elements, mse_term
from trainer.metrics import EVAL_METRICS, WINDOW_METRICS, EvalBatch, Sums, add, batch_sums, finish
from trainer.metrics.sparsity import window_sums
from trainer.models import FrozenModel
from trainer.models.parts import Linear
from trainer.pulse import pulse
from trainer.sae.forward import bank_forward
from trainer.sae.types import BankOutput
from trainer.spec import BankSpec
from trainer.state import BankState

Measured = list[dict[str, float | list[float]]]
"""Metrics of each SAE of a bank, by column."""


class Prepared(NamedTuple):
    """What of an evaluation does not depend on the SAEs: made once, used at every evaluation of a pack."""

    input_means: dict[int, Tensor]
    """By layer: mean over the evaluation set of the input of that block, float64."""
    ce_ablated: dict[int, Float[Tensor, " n_rows"]]
    """By layer: cross-entropy of each row when the residual stream there is zero, in nats per token."""


@torch.no_grad()
def prepare(model: FrozenModel, rows: Rows, *, layers: set[int], batch_rows: int) -> Prepared:
    """One pass over the evaluation set for the means; one row of zeros for the ablation."""
    totals: dict[int, Tensor] = {}
    n_tokens = 0
    for tokens in rows.eval_batches(batch_rows):
        clean = clean_run(model, tokens.to(model.device), Capture(frozenset(layers), output=False))
        for layer in layers:
            part = clean.residuals[layer].double().sum((0, 1))
            totals[layer] = totals[layer] + part if layer in totals else part
        n_tokens += tokens.numel()
    ablated: dict[int, Tensor] = {}
    for layer in layers:
        zeros = torch.zeros(1, rows.context, model.d_model, dtype=model.residual_dtype, device=model.device)
        normed = run_above(model, zeros, layer=layer, keep=(), output=True).normed
        assert normed is not None
        log_p = _log_p(normed[0], model.unembedding)  # the same for every row
        said = [_nats(log_p, tokens.to(model.device)[:, 1:]) for tokens in rows.eval_batches(batch_rows)]
        ablated[layer] = torch.cat(said) / (rows.context - 1)
    return Prepared({layer: total / n_tokens for layer, total in totals.items()}, ablated)


@torch.no_grad()
def evaluate(
    specs: Sequence[BankSpec],
    states: Sequence[BankState],
    *,
    model: FrozenModel,
    rows: Rows,
    prepared: Prepared,
    batch_rows: int,
    collectors: Sequence[Collector] = (),
) -> list[Measured]:
    """Metrics over the evaluation rows with the weights as they are, for each bank, without the alive window's.

    `collectors`: one for each bank, or none; they see what the SAEs of their bank read.
    """
    capture = Capture(frozenset(range(min(spec.layer for spec in specs), model.n_layers)), output=True)
    totals: list[Sums | None] = [None] * len(states)
    for number, tokens in enumerate(rows.eval_batches(batch_rows)):
        pulse("evaluate")
        tokens = tokens.to(model.device)
        clean = clean_run(model, tokens, capture)
        for index, (spec, state) in enumerate(zip(specs, states, strict=True)):
            batch = _bank_batch(
                spec,
                state,
                clean=clean,
                tokens=tokens,
                model=model,
                input_mean=prepared.input_means[spec.layer],
                ce_ablated=prepared.ce_ablated[spec.layer][number * batch_rows :][: len(tokens)],
            )
            totals[index] = add(totals[index], batch_sums(batch))
            if collectors:
                collectors[index].add(batch.sae_input, first_row=number * batch_rows)
    return [finish(EVAL_METRICS, total) for total in totals if total is not None]


@torch.no_grad()
def window_counts(
    specs: Sequence[BankSpec],
    states: Sequence[BankState],
    *,
    model: FrozenModel,
    rows: Rows,
    n_tokens: int,
    batch_rows: int,
) -> list[Tensor]:
    """By bank "n_saes d_sae": tokens on which each element fires, with frozen weights, over the first `n_tokens`
    training tokens, rounded up to whole rows and down to what there is (the paper's second count, discrepancy X8)."""
    n_rows = _window_rows(rows, n_tokens)
    capture = Capture(frozenset(spec.layer for spec in specs), output=False)
    counts = [
        torch.zeros(bank.n_saes, bank.d_sae, dtype=torch.int64, device=bank.w_enc.device)
        for bank in (state.bank for state in states)
    ]
    for start in range(0, n_rows, batch_rows):
        pulse("evaluate")
        tokens = rows.train_rows(start, min(start + batch_rows, n_rows)).to(model.device)
        clean = clean_run(model, tokens, capture)
        for spec, state, count in zip(specs, states, counts, strict=True):
            bank = state.bank
            x = clean.residuals[spec.layer].flatten(0, 1).to(bank.w_enc.dtype)
            count += _forward(spec, state, x).firing_counts
    return counts


def window_metrics(counts: Int[Tensor, "n_saes d_sae"], *, rows: Rows, n_tokens: int) -> Measured:
    """Alive elements and firing densities from what `window_counts` has counted for a bank."""
    return finish(WINDOW_METRICS, window_sums(counts.cpu(), n_tokens=_window_rows(rows, n_tokens) * rows.context))


def _window_rows(rows: Rows, n_tokens: int) -> int:
    return min(-(-n_tokens // rows.context), rows.n_train_rows)


def _forward(spec: BankSpec, state: BankState, x: Float[Tensor, "tokens d_model"]) -> BankOutput:
    """With the room that training found, so that an engine which has to be told it seldom computes twice."""
    while True:
        out = bank_forward(state.bank, x, path=state.switch.path, compute_dtype=spec.compute_dtype, room=state.room)
        if state.room.was_enough():
            return out


def _bank_batch(
    spec: BankSpec,
    state: BankState,
    *,
    clean: CleanRun,
    tokens: Int[Tensor, "batch pos"],
    model: FrozenModel,
    input_mean: Float[Tensor, " d_model"],
    ce_ablated: Float[Tensor, " batch"],
) -> EvalBatch:
    n_rows = tokens.shape[0]
    bank = state.bank
    x = clean.residuals[spec.layer].to(bank.w_enc.dtype)
    out = _forward(spec, state, x.flatten(0, 1))
    sae_output = rearrange(out.output, "n_saes (batch pos) d_model -> n_saes batch pos d_model", batch=n_rows)
    run = run_above(
        model,
        rearrange(sae_output, "n_saes batch pos d_model -> (n_saes batch) pos d_model").to(
            clean.residuals[spec.layer].dtype
        ),
        layer=spec.layer,
        keep=spec.later_layers,
        output=True,
    )
    later = [
        mse_term(
            target=clean.residuals[k].flatten(0, 1).to(x.dtype),
            prediction=rearrange(run.residuals[k], "(s b) pos d_model -> s (b pos) d_model", b=n_rows).to(x.dtype),
        )
        for k in spec.later_layers
    ]
    assert clean.normed is not None
    assert run.normed is not None
    ce_clean, ce_sae, kl = output_losses(
        clean=clean.normed,
        sae=rearrange(run.normed, "(s batch) pos d_model -> s batch pos d_model", batch=n_rows),
        unembedding=model.unembedding,
        tokens=tokens,
    )
    return EvalBatch(
        sae_input=x,
        sae_output=sae_output,
        input_mean=input_mean,
        l0=out.l0,
        later_squares=torch.stack(later, dim=-1) if later else x.new_zeros(bank.n_saes, 0),
        ce_clean=ce_clean,
        ce_sae=ce_sae,
        ce_ablated=ce_ablated,
        kl=kl,
    )


def output_losses(
    *,
    clean: Float[Tensor, "batch pos d_model"],
    sae: Float[Tensor, "n_saes batch pos d_model"],
    unembedding: Linear,
    tokens: Int[Tensor, "batch pos"],
) -> tuple[Float[Tensor, " batch"], Float[Tensor, "n_saes batch"], Float[Tensor, "n_saes batch"]]:
    """Per row, in nats per token: clean cross-entropy, cross-entropy with each SAE, KL(clean || SAE).

    A few positions of a row and a few SAEs at a time: memory holds `chunk_elements` logits of a kind, not a row's.
    """
    n_saes, n_rows, n_pos, _ = sae.shape
    chunk, d_vocab = chunk_elements(sae.device), unembedding.weight.shape[0]
    pos_at_once = min(n_pos, max(1, chunk // d_vocab))
    saes_at_once = max(1, chunk // (pos_at_once * d_vocab))
    zeros = functools.partial(torch.zeros, dtype=torch.promote_types(sae.dtype, torch.float32), device=sae.device)
    ce_clean, ce_sae, kl = zeros(n_rows), zeros(n_saes, n_rows), zeros(n_saes, n_rows)
    for row in range(n_rows):
        for start in range(0, n_pos, pos_at_once):
            here = slice(start, start + pos_at_once)
            predicted = tokens[row, start + 1 : start + 1 + pos_at_once]
            clean_log_p = _log_p(clean[row, here], unembedding)
            ce_clean[row] += _nats(clean_log_p, predicted) / (n_pos - 1)
            clean_p = clean_log_p.exp()
            negative_entropy = clean_log_p.mul_(clean_p).sum()
            for first in range(0, n_saes, saes_at_once):
                some = slice(first, first + saes_at_once)
                log_p = _log_p(sae[some, row, here], unembedding)
                ce_sae[some, row] += _nats(log_p, predicted) / (n_pos - 1)
                kl[some, row] += (negative_entropy - torch.einsum("tv,stv->s", clean_p, log_p)) / n_pos
    return ce_clean, ce_sae, kl


def _log_p(normed: Float[Tensor, "... d_model"], unembedding: Linear) -> Float[Tensor, "... vocab"]:
    logits = linear(normed, unembedding.weight, unembedding.bias)
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


def _nats(log_p: Float[Tensor, "*saes pos vocab"], predicted: Int[Tensor, "*rows next"]) -> Float[Tensor, "*any"]:
    """Minus the sum of the `log_p` of the tokens that come next, of which the last position of a row has none: for each
    SAE on one row, or for each row."""
    at = torch.arange(predicted.shape[-1], device=predicted.device)
    return -log_p[..., at, predicted].sum(-1)
