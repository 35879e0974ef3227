"""Passages of the evaluation rows by which the meaning of an element can be told: where it is strongest, and where it
does not fire. Tensors and token ids only; which elements, and what is asked about them, is the caller's business.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trainer.analysis.spliced import Heard, batch_rows, common_layer, spliced_batches, unheard
from trainer.clean import Capture, clean_run
from trainer.data.rows import RowSet
from trainer.elements import Choice, Collector, Snippet
from trainer.elements.collect import N_AFTER, N_BEFORE
from trainer.export import TrainedSAE
from trainer.models import FrozenModel
from trainer.sae.bank import Bank

WINDOW = N_BEFORE + 1 + N_AFTER
"""Tokens of a passage; fewer where rows are shorter."""
QUIET_CANDIDATES = 20
"""Places looked at for each passage that is wanted in which an element does not fire."""


class Passages(NamedTuple):
    """Of one element."""

    element: int
    density: float
    """Share of the tokens looked at on which it fires."""
    max_activation: float
    strongest: tuple[Snippet, ...]
    """At most one of each row, the strongest first."""
    quiet: tuple[Snippet, ...]
    """In which it does not fire at all, in a random order; `position` is where the passage starts."""


def passages_of(
    sae: TrainedSAE,
    model: FrozenModel,
    rows: RowSet,
    elements: Sequence[int],
    *,
    n_strongest: int,
    n_quiet: int,
    seed: int,
    n_rows: int | None = None,
    heard: Heard = unheard,
) -> list[Passages]:
    """Of each element, in the order given; as many passages as there are, up to those numbers.

    `seed`: of where passages without the element are looked for.

    Raises:
        BadInput: the SAE does not fit the model.
    """
    layer = common_layer([sae], model)
    chosen = list(elements)
    collector = Collector(
        _one_bank(sae),
        [Choice(chosen, ["sampled"] * len(chosen))],
        n_snippets=n_strongest,
        context=rows.context,
        compute_dtype=sae.w_enc.dtype,
    )
    total = len(rows) if n_rows is None else min(n_rows, len(rows))
    for batch in spliced_batches([], model, rows, layer=layer, n_rows=total, heard=heard):
        collector.add(batch.clean.residuals[layer], first_row=batch.first_row)
    (found,) = collector.finish(rows)
    quiet = _quiet(sae, model, rows, chosen, n_quiet=n_quiet, n_rows=total, seed=seed)
    return [
        Passages(one.index, one.density, one.max_activation, one.snippets, without)
        for one, without in zip(found, quiet, strict=True)
    ]


def _one_bank(sae: TrainedSAE) -> Bank:
    return Bank(*(weights[None] for weights in (sae.w_enc, sae.b_enc, sae.dictionary, sae.b_dec)))


@torch.no_grad()
def _quiet(
    sae: TrainedSAE, model: FrozenModel, rows: RowSet, elements: list[int], *, n_quiet: int, n_rows: int, seed: int
) -> list[tuple[Snippet, ...]]:
    dice = torch.Generator().manual_seed(seed)
    n = max(1, n_quiet * QUIET_CANDIDATES)
    width = min(WINDOW, rows.context)
    mosts = n_rows, rows.context - width + 1
    drawn = torch.stack([torch.randint(0, most, (n,), generator=dice) for most in mosts], dim=1)
    row, start = torch.tensor(list(dict.fromkeys(map(tuple, drawn.tolist())))).unbind(1)  # no place twice
    fires = _fires(sae, model, rows, elements, row, start, width)
    tokens = rows.at(row[:, None], start[:, None] + torch.arange(width))
    found: list[tuple[Snippet, ...]] = []
    for number in range(len(elements)):
        places = (~fires[:, number]).nonzero().flatten()[:n_quiet].tolist()
        found.append(tuple(_snippet(int(row[at]), int(start[at]), tokens[at]) for at in places))
    return found


def _fires(
    sae: TrainedSAE, model: FrozenModel, rows: RowSet, elements: list[int], row: Tensor, start: Tensor, width: int
) -> Tensor:
    """Whether each element "places elements" fires anywhere in each window."""
    w_enc, b_enc = sae.w_enc[elements], sae.b_enc[elements]
    found: list[Tensor] = []
    size = batch_rows(model, rows.context)
    for first in range(0, len(row), size):
        some = slice(first, first + size)
        tokens = rows.at(row[some, None], torch.arange(rows.context)[None]).to(model.device)
        x = clean_run(model, tokens, Capture(frozenset({sae.layer}), output=False)).residuals[sae.layer]
        around = (start[some, None] + torch.arange(width)).to(x.device)
        window: Float[Tensor, "places pos d_model"] = torch.take_along_dim(x, around[..., None], dim=1).to(w_enc)
        found.append(((window @ w_enc.T + b_enc) > 0).any(1).cpu())
    return torch.cat(found)


def _snippet(row: int, start: int, tokens: Int[Tensor, " pos"]) -> Snippet:
    ids = tuple(tokens.tolist())
    return Snippet(row, start, start, 0.0, ids, (0.0,) * len(ids))
