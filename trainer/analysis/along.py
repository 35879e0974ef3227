"""Activations along given directions, before and after an SAE (paper, Figures 22 and 23a, app. G.3).

One number a token and direction is held, whatever the size of the SAE. The directions are mostly those of `pca`.
"""

from enum import StrEnum
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trainer.analysis.spliced import Heard, spliced_batches, unheard
from trainer.data.rows import RowSet
from trainer.export import TrainedSAE
from trainer.models import FrozenModel

FEWEST_BINS, MOST_BINS = 10, 60


class TokenKind(StrEnum):
    """What a token's activations are apart by. Position 0 comes first, whatever token is there."""

    FIRST = "position_0"
    END = "end_of_text"
    OTHER = "other"


class Along(NamedTuple):
    """Activations along directions: x . v, nothing subtracted. float32 on the CPU, one number a token and direction."""

    clean: Float[Tensor, "rows pos n_directions"]
    saes: tuple[Float[Tensor, "rows pos n_directions"], ...]
    """Of each SAE's output, in the order of the SAEs."""
    tokens: Int[Tensor, "rows pos"]

    def of_kind(self, kind: TokenKind, *, end_id: int | None) -> Bool[Tensor, "rows pos"]:
        """`end_id`: the end-of-text token; None where there is none."""
        first = torch.zeros_like(self.tokens, dtype=torch.bool)
        first[:, 0] = True
        end = torch.zeros_like(first) if end_id is None else (self.tokens == end_id) & ~first
        return {TokenKind.FIRST: first, TokenKind.END: end, TokenKind.OTHER: ~first & ~end}[kind]


@torch.no_grad()
def along_directions(
    directions: Float[Tensor, "n_directions d_model"],
    saes: list[TrainedSAE],
    model: FrozenModel,
    rows: RowSet,
    *,
    layer: int,
    n_rows: int | None = 100,
    heard: Heard = unheard,
) -> Along:
    """Of the clean stream at `layer` and of what each SAE there makes of it, over the first `n_rows` rows."""
    turned = directions.to(model.device).double().T
    parts: list[tuple[Tensor, ...]] = []
    for batch in spliced_batches(saes, model, rows, layer=layer, n_rows=n_rows, heard=heard):
        streams = [batch.clean.residuals[layer], *(spliced.output for spliced in batch.saes)]
        parts.append((batch.tokens.cpu(), *((stream.double() @ turned).float().cpu() for stream in streams)))
    tokens, clean, *outputs = (torch.cat(each) for each in zip(*parts, strict=True))
    return Along(clean, tuple(outputs), tokens)


class Correlation(NamedTuple):
    """Pearson's r of the activations along a direction before and after the SAE; NaN where one of them is constant."""

    first: Float[Tensor, " n_directions"]
    """Over position 0 of all rows."""
    rest: Float[Tensor, " n_directions"]
    """Over the positions after it, as the paper does."""


def correlation(
    *, clean: Float[Tensor, "rows pos n_directions"], sae: Float[Tensor, "rows pos n_directions"]
) -> Correlation:
    """Of each direction, in float64."""
    return Correlation(_pearson(clean[:, :1], sae[:, :1]), _pearson(clean[:, 1:], sae[:, 1:]))


def _pearson(left: Tensor, right: Tensor) -> Tensor:
    a, b = (each.double().flatten(0, 1) for each in (left, right))
    if len(a) < 2:
        return torch.full(a.shape[1:], float("nan"), dtype=torch.float64)
    a, b = a - a.mean(0), b - b.mean(0)
    scale = (a.square().sum(0) * b.square().sum(0)).sqrt()
    return torch.where(scale > 0, (a * b).sum(0) / scale, float("nan"))


class Histogram(NamedTuple):
    """Tokens of a kind by their activation along one direction; clean and SAE in the same bins."""

    edges: Float[Tensor, " edges"]
    clean: Int[Tensor, " bins"]
    sae: Int[Tensor, " bins"]


def histograms(along: Along, *, which: int, direction: int, end_id: int | None) -> dict[TokenKind, Histogram]:
    """Of one direction, for the SAE number `which` and the clean stream. Kinds without a token are left out.

    Position 0 has limits of its own, since it may be far away; end of text and other tokens share theirs. About as many
    bins as the square root of the tokens of the kind, between `FEWEST_BINS` and `MOST_BINS`.
    """
    clean, sae = along.clean[..., direction].double(), along.saes[which][..., direction].double()
    found: dict[TokenKind, Histogram] = {}
    for kinds in ((TokenKind.FIRST,), (TokenKind.END, TokenKind.OTHER)):
        masks = {kind: along.of_kind(kind, end_id=end_id) for kind in kinds}
        together = torch.stack(list(masks.values())).any(0)
        if not together.any():
            continue
        both = torch.cat([clean[together], sae[together]])
        low, high = float(both.min()), float(both.max())
        room = 1e-3 * (high - low) or 1e-3 * max(1.0, abs(high))  # else the last token is on the edge
        for kind, mask in masks.items():
            if mask.any():
                n_bins = min(MOST_BINS, max(FEWEST_BINS, round(float(mask.sum()) ** 0.5)))
                edges = torch.linspace(low - room, high + room, n_bins + 1, dtype=torch.float64)
                found[kind] = Histogram(edges, *(_counts(values[mask], edges) for values in (clean, sae)))
    return found


def _counts(values: Tensor, edges: Tensor) -> Tensor:
    n_bins = len(edges) - 1
    return torch.bincount((torch.bucketize(values, edges, right=True) - 1).clamp(0, n_bins - 1), minlength=n_bins)


class ByPosition(NamedTuple):
    """Mean over rows of the activation along each direction, float64."""

    clean: Float[Tensor, "pos n_directions"]
    sae: Float[Tensor, "pos n_directions"]


def by_position(
    *, clean: Float[Tensor, "rows pos n_directions"], sae: Float[Tensor, "rows pos n_directions"]
) -> ByPosition:
    """At each position of a row: directions that count positions show as curves."""
    return ByPosition(clean.double().mean(0), sae.double().mean(0))
