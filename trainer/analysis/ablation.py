"""What the model loses when one direction of its residual stream says something else (paper, Figure 23b, app. G.3).

Resample ablation of the clean model; no SAE is in it. Which directions is the caller's business, mostly those of `pca`.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from trainer.analysis.spliced import Divergence, Heard, divergence, spliced_batches, unheard
from trainer.clean import run_above
from trainer.data.rows import RowSet
from trainer.errors import BadInput
from trainer.models import FrozenModel
from trainer.pulse import pulse


class Ablated(NamedTuple):
    """By direction, float64; means over the tokens after position 0, nats per token."""

    kl: Float[Tensor, " n_directions"]
    """KL(original || ablated) of the next token: the direction of the KL loss, and not the one of the paper's script
    (discrepancy X18)."""
    kl_stderr: Float[Tensor, " n_directions"]
    """Standard error of its mean over rows; NaN for a single row."""
    kl_reversed: Float[Tensor, " n_directions"]
    """KL(ablated || original), as the paper's script has it."""


@torch.no_grad()
def resample_ablation(
    directions: Float[Tensor, "n_directions d_model"],
    model: FrozenModel,
    rows: RowSet,
    *,
    layer: int,
    n_rows: int | None = 30,
    seed: int = 0,
    heard: Heard = unheard,
) -> Ablated:
    """One direction v at a time, at the input of block `layer`, at every position i > 0 of the first `n_rows` rows:
    x_i becomes x_i - (x_i . v) v + (x_j . v) v, with j > 0 a token of any of those rows.

    `directions`: rows of unit norm. The tokens j are one random order of all tokens, the same for every direction, by
    `seed`: each is used once. Position 0 stays what it was, and so does its next token, which is left out of the mean.

    Raises:
        BadInput: rows of one token.
    """
    if rows.context < 2:
        raise BadInput(f"rows of {rows.context} token: resample ablation needs positions after 0")
    turned = directions.to(model.device).double()
    values = torch.cat(
        [
            batch.clean.residuals[layer][:, 1:].double() @ turned.T
            for batch in spliced_batches([], model, rows, layer=layer, n_rows=n_rows)
        ]
    )
    order = torch.randperm(values.shape[0] * values.shape[1], generator=torch.Generator().manual_seed(seed))
    others = values.flatten(0, 1)[order.to(values.device)].view_as(values)
    change = (others - values).to(model.residual_dtype)
    forth: list[Tensor] = []
    back: list[Tensor] = []
    for batch in spliced_batches([], model, rows, layer=layer, n_rows=n_rows, output=True, heard=heard):
        assert batch.clean.normed is not None
        here = change[batch.first_row : batch.first_row + len(batch.tokens)]
        x, original = batch.clean.residuals[layer], batch.clean.normed[:, 1:]
        each = [_one(here[..., i, None] * v.to(x), x, original, model, layer) for i, v in enumerate(turned)]
        forth.append(torch.stack([one.original_to_changed.mean(-1) for one in each]).cpu())
        back.append(torch.stack([one.changed_to_original.mean(-1) for one in each]).cpu())
    kl, kl_reversed = torch.cat(forth, dim=1), torch.cat(back, dim=1)
    n = kl.shape[1]
    stderr = kl.std(dim=1) / n**0.5 if n > 1 else torch.full_like(kl[:, 0], float("nan"))
    return Ablated(kl.mean(1), stderr, kl_reversed.mean(1))


def _one(change: Tensor, x: Tensor, original: Tensor, model: FrozenModel, layer: int) -> Divergence:
    pulse("paper")
    changed = x.clone()
    changed[:, 1:] += change
    normed = run_above(model, changed, layer=layer, keep=(), output=True).normed
    assert normed is not None
    return divergence(original=original, changed=normed[:, 1:], unembedding=model.unembedding)
