"""Principal directions of the clean residual stream (paper, Figures 21 to 23, app. G.3).

In GPT2-small the first one at layer 10 is an outlier direction: position 0 lies far out on it. What an SAE keeps of
each direction is in `along`, what the model does with it in `ablation`.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trainer.analysis.spliced import Heard, spliced_batches, unheard
from trainer.data.rows import RowSet
from trainer.models import FrozenModel


@dataclass(frozen=True)
class PrincipalDirections:
    """Eigenvectors of the covariance of the input of one block, over all positions. Tensors are float64 on the CPU."""

    layer: int
    n_tokens: int
    directions: Float[Tensor, "n_directions d_model"]
    """Rows of unit norm, by falling variance. Of the two signs the one on which position 0 is further out than the
    mean."""
    variances: Float[Tensor, " n_directions"]
    """Of the activations along each, activation²."""
    total_variance: float
    """Of all directions of the space together."""
    mean: Float[Tensor, " d_model"]
    first_mean: Float[Tensor, " d_model"]
    """Mean at position 0."""
    rest_mean: Float[Tensor, " d_model"]
    """Mean at the positions after it; zero where rows have only one."""

    @property
    def variance_shares(self) -> Float[Tensor, " n_directions"]:
        return self.variances / self.total_variance

    @property
    def cosine_to_first(self) -> Float[Tensor, " n_directions"]:
        """Of each direction and the mean activation at position 0: near 1 for an outlier direction of position 0."""
        return self.directions @ self.first_mean / self.first_mean.norm().clamp(min=1e-30)

    @property
    def cosine_to_difference(self) -> Float[Tensor, " n_directions"]:
        """Of each direction and (mean at position 0 - mean after it), which a mean that all positions share does not
        touch."""
        difference = self.first_mean - self.rest_mean
        return self.directions @ difference / difference.norm().clamp(min=1e-30)


@torch.no_grad()
def principal_directions(
    model: FrozenModel,
    rows: RowSet,
    *,
    layer: int,
    n_directions: int = 25,
    n_rows: int | None = 100,
    heard: Heard = unheard,
) -> PrincipalDirections:
    """Of the input of block `layer`, over all tokens of the first `n_rows` rows (None: all).

    At most `d_model` directions. How many rows is said, where the paper's own script takes 5 or 100 sequences, whatever
    a file left behind holds (discrepancy X20), and `n_directions` is its scripts' 25, not its text's 30 (X10).
    """
    d_model = model.d_model
    square = torch.zeros(d_model, d_model, dtype=torch.float64, device=model.device)
    total, first = (torch.zeros(d_model, dtype=torch.float64, device=model.device) for _ in range(2))
    shift: Tensor | None = None
    n_seen, n_tokens = 0, 0
    for batch in spliced_batches([], model, rows, layer=layer, n_rows=n_rows, heard=heard):
        x = batch.clean.residuals[layer].double()
        shift = x.mean((0, 1)) if shift is None else shift  # what is squared is small, so that little cancels
        flat = (x - shift).flatten(0, 1)
        square += flat.T @ flat
        total += flat.sum(0)
        first += (x[:, 0] - shift).sum(0)
        n_seen, n_tokens = n_seen + len(x), n_tokens + len(flat)
    assert shift is not None
    mean = total / n_tokens
    covariance = (square / n_tokens - torch.outer(mean, mean)).cpu()
    variances, vectors = torch.linalg.eigh(covariance)
    directions = vectors.T.flip(0)[:n_directions]
    sign = torch.where(directions @ (first / n_seen - mean).cpu() < 0, -1.0, 1.0).double()
    n_rest = n_tokens - n_seen
    rest = shift + (total - first) / n_rest if n_rest else torch.zeros_like(shift)
    return PrincipalDirections(
        layer=layer,
        n_tokens=n_tokens,
        directions=(directions * sign[:, None]).contiguous(),
        variances=variances.flip(0)[:n_directions].clamp(min=0),
        total_variance=float(variances.clamp(min=0).sum()),
        mean=(shift + mean).cpu(),
        first_mean=(shift + first / n_seen).cpu(),
        rest_mean=rest.cpu(),
    )
