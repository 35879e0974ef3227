"""The model with and without an SAE, batch after batch: what every analysis of activations starts from.

Memory holds `CHUNK` numbers of latents or logits at a time, never tokens x d_sae nor tokens x vocabulary. Knows rows of
tokens, no data sets and no files.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from trainer.clean import Capture, CleanRun, clean_run, run_above
from trainer.data.rows import RowSet
from trainer.errors import BadInput
from trainer.export import TrainedSAE
from trainer.losses.terms import chunk_elements
from trainer.models import FrozenModel
from trainer.models.parts import Linear
from trainer.pulse import pulse

CHUNK = 2**22
"""Latents in memory at a time, in numbers."""

Heard = Callable[[int, int], None]
"""Called after each batch with how many rows are done, and of how many."""


def unheard(_done: int, _total: int) -> None:
    """For whoever does not listen."""


class Spliced(NamedTuple):
    """What one SAE makes of a batch."""

    output: Float[Tensor, "batch pos d_model"]
    """Of the SAE, in the dtype of the residual stream: what the model goes on with."""
    above: dict[int, Tensor]
    """By layer: the input "batch pos d_model" of each later block that was to be kept; `n_layers` is the stream after
    the last block."""
    normed: Float[Tensor, "batch pos d_model"] | None
    """After the final norm; None where the output was not asked for."""


class SplicedBatch(NamedTuple):
    """Some rows, clean and through each SAE."""

    first_row: int
    tokens: Int[Tensor, "batch pos"]
    clean: CleanRun
    """The residual stream at the SAEs' layer and at each layer that was to be kept."""
    saes: tuple[Spliced, ...]
    """In the order in which the SAEs were given."""


@torch.no_grad()
def spliced_batches(
    saes: Sequence[TrainedSAE],
    model: FrozenModel,
    rows: RowSet,
    *,
    layer: int | None = None,
    n_rows: int | None = None,
    keep: Collection[int] = (),
    output: bool = False,
    heard: Heard = unheard,
) -> Iterator[SplicedBatch]:
    """The first `n_rows` rows (None: all), each once, in order, as large batches as fit.

    All SAEs sit at one layer; without an SAE (clean runs alone) `layer` names it. `keep`: layers whose input is wanted,
    up to `n_layers`, the stream after the last block. `output`: whether the normed stream is wanted, from which logits
    follow. Nothing is run above the SAEs where neither is asked for.

    Raises:
        BadInput: an SAE that does not fit the model, or another layer than the others' or `layer`.
    """
    layer = common_layer(saes, model, layer)
    total = len(rows) if n_rows is None else min(n_rows, len(rows))
    later = frozenset(kept for kept in keep if kept > layer)
    capture = Capture(frozenset({layer, *keep}), output)
    size = batch_rows(model, rows.context)
    for start in range(0, total, size):
        pulse("paper")
        tokens = rows.take(slice(start, min(start + size, total))).to(model.device)
        clean = clean_run(model, tokens, capture)
        each = tuple(_spliced(sae, model, clean.residuals[layer], layer, later, output) for sae in saes)
        yield SplicedBatch(start, tokens, clean, each)
        heard(min(start + size, total), total)


def _spliced(
    sae: TrainedSAE, model: FrozenModel, x: Tensor, layer: int, later: frozenset[int], output: bool
) -> Spliced:
    x_hat = reconstruct(sae, x)
    if not later and not output:
        return Spliced(x_hat, {}, None)
    run = run_above(model, x_hat, layer=layer, keep=later, output=output)
    return Spliced(x_hat, run.residuals, run.normed)


def common_layer(saes: Sequence[TrainedSAE], model: FrozenModel, layer: int | None = None) -> int:
    """The layer that all SAEs sit at, which is `layer` where that is given.

    Raises:
        BadInput: they do not share one, or one of them does not fit the model.
    """
    layers = {sae.layer for sae in saes} | ({layer} if layer is not None else set())
    if len(layers) != 1:
        found = ", ".join(map(str, sorted(layers))) or "none"
        raise BadInput(f"SAEs of the layers {found}: expected SAEs that replace the input of one block")
    (common,) = layers
    if not 0 <= common < model.n_layers:
        raise BadInput(f"an SAE of layer {common}: {model.name} has the layers 0 to {model.n_layers - 1}")
    for sae in saes:
        if sae.d_model != model.d_model:
            raise BadInput(
                f"an SAE of width {sae.d_model} ({sae.config.run_name}), but {model.name} has d_model {model.d_model}: "
                "name the model that it was trained on"
            )
    return common


def batch_rows(model: FrozenModel, context: int) -> int:
    """Rows at a time: as many as keep a block's widest activations within `chunk_elements`, at least one."""
    return max(1, chunk_elements(model.device) // (context * max(model.facts.d_mlp, model.d_model)))


def latent_chunks(
    sae: TrainedSAE, x: Float[Tensor, "tokens d_model"]
) -> Iterator[tuple[slice, Float[Tensor, "chunk d_sae"]]]:
    """Latents of some tokens at a time, with which tokens they are; at most `CHUNK` numbers at once."""
    x = x.to(sae.w_enc.device, sae.w_enc.dtype)
    step = max(1, CHUNK // sae.d_sae)
    for start in range(0, len(x), step):
        here = slice(start, min(start + step, len(x)))
        yield here, sae.encode(x[here])


def reconstruct(sae: TrainedSAE, x: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
    """The SAE's output for activations, in their dtype and on their device."""
    flat = x.flatten(0, 1)
    output = torch.empty_like(flat)
    for here, latents in latent_chunks(sae, flat):
        output[here] = sae.decode(latents).to(output)
    return output.view_as(x)


class Divergence(NamedTuple):
    """Per token, in nats, float64."""

    original_to_changed: Float[Tensor, "batch pos"]
    """KL(original || changed) = sum_v p_original (log p_original - log p_changed): the direction of the KL loss."""
    changed_to_original: Float[Tensor, "batch pos"]
    """KL(changed || original), which the paper's script for resample ablation takes (discrepancy X18)."""


@torch.no_grad()
def divergence(
    *, original: Float[Tensor, "batch pos d_model"], changed: Float[Tensor, "batch pos d_model"], unembedding: Linear
) -> Divergence:
    """Of the next-token distributions that two final, normed residual streams give, both ways round."""
    shape = original.shape[:2]
    p, q = original.flatten(0, 1), changed.flatten(0, 1)
    step = max(1, chunk_elements(p.device) // unembedding.weight.shape[0])
    forth, back = [], []
    for start in range(0, len(p), step):
        log_p, log_q = (log_probs(part[start : start + step], unembedding) for part in (p, q))
        difference = log_p - log_q
        forth.append((log_p.exp() * difference).sum(-1, dtype=torch.float64))
        back.append(-(log_q.exp() * difference).sum(-1, dtype=torch.float64))
    return Divergence(torch.cat(forth).view(shape), torch.cat(back).view(shape))


def log_probs(normed: Float[Tensor, "... d_model"], unembedding: Linear) -> Float[Tensor, "... vocab"]:
    """Log-probabilities of the next token, in float32 or better. Whoever calls bounds how many tokens there are."""
    logits = functional.linear(normed, unembedding.weight, unembedding.bias)
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
