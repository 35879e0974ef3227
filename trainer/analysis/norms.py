"""How long the SAE's output is against its input, and which way it points (paper, Figures 10 and 11, Table 5).

Position 0 is taken apart: in many models its activations are far longer than all others.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trainer.analysis.spliced import Heard, divergence, spliced_batches, unheard
from trainer.data.rows import RowSet
from trainer.export import TrainedSAE
from trainer.models import FrozenModel

N_COSINE_BINS = 200
MOST_POINTS = 2000


class Moments(NamedTuple):
    """Over tokens; NaN where there are none."""

    mean: float
    std: float
    stderr: float
    """Of the mean, from the means of rows: tokens of one row are alike. NaN for fewer than two rows."""


@dataclass(frozen=True)
class Norms:
    """Of some tokens. Norms are L2, in units of the residual stream."""

    n_tokens: int
    norm_in: Moments
    """|x|."""
    norm_out: Moments
    """|x_hat|."""
    l2_ratio: Moments
    """|x_hat| / |x|, as in the paper's Table 5."""
    cosine: Moments
    """x . x_hat / (|x| |x_hat|); 0 where one of them is 0."""
    kl: Moments
    """KL(clean || SAE) of the next token, nats."""
    cosine_counts: Int[Tensor, " bins"]
    """Tokens by cosine: `N_COSINE_BINS` equal bins from -1 to 1."""


class NormPoints(NamedTuple):
    """Single tokens, for a scatter plot; at most `MOST_POINTS`, evenly through the rows."""

    position: Int[Tensor, " points"]
    norm_in: Float[Tensor, " points"]
    norm_out: Float[Tensor, " points"]


class NormsOfInputAndOutput(NamedTuple):
    first: Norms
    """At position 0."""
    rest: Norms
    """At the positions after it."""
    points: NormPoints


@torch.no_grad()
def input_output_norms(
    sae: TrainedSAE,
    model: FrozenModel,
    rows: RowSet,
    *,
    n_rows: int | None = 100,
    n_points: int = MOST_POINTS,
    heard: Heard = unheard,
) -> NormsOfInputAndOutput:
    """Over the first `n_rows` rows (the paper: 100 of 1024 tokens, of evaluation data here, not of training data as in
    some of its runs, discrepancy X21). Points: every position 0, as long as they are half of the points at most, and
    other tokens evenly."""
    parts: list[_Tokens] = []
    for batch in spliced_batches([sae], model, rows, n_rows=n_rows, output=True, heard=heard):
        (spliced,) = batch.saes
        assert batch.clean.normed is not None
        assert spliced.normed is not None
        x, x_hat = batch.clean.residuals[sae.layer].double(), spliced.output.double()
        norm_in, norm_out = x.norm(dim=-1), x_hat.norm(dim=-1)
        cosine = (x * x_hat).sum(-1) / (norm_in * norm_out).clamp(min=1e-30)
        kl = divergence(original=batch.clean.normed, changed=spliced.normed, unembedding=model.unembedding)
        parts.append(_Tokens(*(each.cpu() for each in (norm_in, norm_out, cosine, kl.original_to_changed))))
    tokens = _Tokens(*(torch.cat(each) for each in zip(*parts, strict=True)))
    return NormsOfInputAndOutput(
        _norms(_Tokens(*(each[:, :1] for each in tokens))),
        _norms(_Tokens(*(each[:, 1:] for each in tokens))),
        _points(tokens, n_points),
    )


class _Tokens(NamedTuple):
    """Each "rows pos", float64 on the CPU: four numbers a token."""

    norm_in: Tensor
    norm_out: Tensor
    cosine: Tensor
    kl: Tensor


def _norms(tokens: _Tokens) -> Norms:
    ratio = tokens.norm_out / tokens.norm_in
    bins = ((tokens.cosine.flatten() + 1) / 2 * N_COSINE_BINS).long().clamp(0, N_COSINE_BINS - 1)
    return Norms(
        n_tokens=ratio.numel(),
        norm_in=_moments(tokens.norm_in),
        norm_out=_moments(tokens.norm_out),
        l2_ratio=_moments(ratio),
        cosine=_moments(tokens.cosine),
        kl=_moments(tokens.kl),
        cosine_counts=torch.bincount(bins, minlength=N_COSINE_BINS),
    )


def _moments(values: Tensor) -> Moments:
    """Of "rows pos"."""
    if not values.numel():
        return Moments(float("nan"), float("nan"), float("nan"))
    n_rows = len(values)
    stderr = float(values.mean(-1).std()) / n_rows**0.5 if n_rows > 1 else float("nan")
    return Moments(float(values.mean()), float(values.std(correction=0)), stderr)


def _points(tokens: _Tokens, n_points: int) -> NormPoints:
    n_rows, n_positions = tokens.norm_in.shape
    first = _evenly(n_rows, n_points // 2) * n_positions
    rest = _evenly(n_rows * (n_positions - 1), n_points - len(first))
    rest = rest // max(1, n_positions - 1) * n_positions + 1 + rest % max(1, n_positions - 1)
    chosen = torch.cat([first, rest])
    return NormPoints(chosen % n_positions, tokens.norm_in.flatten()[chosen], tokens.norm_out.flatten()[chosen])


def _evenly(n: int, at_most: int) -> Int[Tensor, " chosen"]:
    """`at_most` whole numbers from 0 to n - 1, evenly, or all."""
    return torch.arange(n) if n <= at_most else torch.arange(at_most) * n // at_most
