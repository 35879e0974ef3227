"""Metrics of every SAE of a pack over one fixed evaluation set; the clean pass runs once per batch."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

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
    ablated_log_p: dict[int, Float[Tensor, "pos vocab"]]
    """By layer: log-probabilities when the residual stream there is zero; the same for every row."""


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
        ablated[layer] = _log_p(normed[0], model.unembedding)
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
            batch = _bank_batch(spec, state, clean=clean, tokens=tokens, model=model, prepared=prepared)
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
    prepared: Prepared,
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
    ablated = repeat(prepared.ablated_log_p[spec.layer], "pos vocab -> batch pos vocab", batch=n_rows)
    return EvalBatch(
        sae_input=x,
        sae_output=sae_output,
        input_mean=prepared.input_means[spec.layer],
        l0=out.l0,
        later_squares=torch.stack(later, dim=-1) if later else x.new_zeros(bank.n_saes, 0),
        ce_clean=ce_clean,
        ce_sae=ce_sae,
        ce_ablated=_cross_entropy(ablated, tokens),
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

    Row by row and SAE by SAE, so that memory holds the logits of a few rows at a time.
    """
    n_saes, n_rows, n_pos, _ = sae.shape
    at_once = max(1, chunk_elements(sae.device) // (n_pos * unembedding.weight.shape[0]))
    ce_clean, ce_sae, kl = [], [], []
    for row in range(n_rows):
        clean_log_p = _log_p(clean[row], unembedding)
        clean_p = clean_log_p.exp()
        negative_entropy = (clean_p * clean_log_p).sum()
        ce_clean.append(_cross_entropy(clean_log_p[None], tokens[row : row + 1])[0])
        for start in range(0, n_saes, at_once):
            log_p = _log_p(sae[start : start + at_once, row], unembedding)
            ce_sae.append(_cross_entropy(log_p, repeat(tokens[row], "pos -> s pos", s=log_p.shape[0])))
            kl.append((negative_entropy - torch.einsum("tv,stv->s", clean_p, log_p)) / n_pos)
    return (
        torch.stack(ce_clean),
        rearrange(torch.cat(ce_sae), "(batch n_saes) -> n_saes batch", batch=n_rows),
        rearrange(torch.cat(kl), "(batch n_saes) -> n_saes batch", batch=n_rows),
    )


def _log_p(normed: Float[Tensor, "... d_model"], unembedding: Linear) -> Float[Tensor, "... vocab"]:
    logits = functional.linear(normed, unembedding.weight, unembedding.bias)
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


def _cross_entropy(
    log_p: Float[Tensor, "batch pos vocab"], tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, " batch"]:
    """Mean nats per predicted token of each row: position t predicts token t + 1."""
    predicted = log_p[:, :-1].gather(-1, tokens[:, 1:, None])[..., 0]
    return -predicted.mean(-1)
