"""How much of the residual stream is left at each later block when the SAE stands in for one (paper, Figures 2, 6, 12).

One pass for the means of the clean stream, one for the errors. Knows no losses and no pictures.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from trainer.analysis.spliced import Heard, reconstruct, spliced_batches, unheard
from trainer.data.rows import RowSet
from trainer.export import TrainedSAE
from trainer.models import FrozenModel

LAYER_NORM_EPSILON = 1e-5


@dataclass(frozen=True)
class Fit:
    """How close the stream with the SAE, x', is to the clean one, x, over all tokens (position 0 and the last too)."""

    mse: float
    """Mean over tokens and d_model of (x' - x)²; activation² per dimension."""
    mse_stderr: float
    """Its standard error over rows; NaN for a single row."""
    explained_variance: float
    """1 - sum |x' - x|² / sum |x - mean x|²: 1 is perfect, 0 is what predicting the mean gives."""
    explained_variance_stderr: float
    """Its standard error over rows, of a ratio of sums: sqrt(n / (n - 1) sum_rows (error - r spread)²) / sum spread."""
    explained_variance_per_token: float
    """Mean over tokens of 1 - |x' - x|² / |x - mean x|², the paper's: tokens near the mean weigh most."""
    explained_variance_per_token_std: float
    """Standard deviation of that over tokens."""


@dataclass(frozen=True)
class LayerFit:
    """At one place of the residual stream."""

    layer: int
    """The input of that block; the SAE's own layer compares its output with its input; `n_layers` is the stream after
    the last block, which the paper does not show."""
    n_tokens: int
    raw: Fit
    layer_normed: Fit
    """The same of both streams after LayerNorm without weights (epsilon 1e-5), as the next block reads them."""
    swapped_per_token: float | None
    """At the SAE's own layer only: mean over tokens of 1 - |x' - x|² / |x' - mean x'|². Not an explained variance: what
    the paper's code computes there, its arguments being in the other order (discrepancy X7)."""


@torch.no_grad()
def downstream_reconstruction(
    sae: TrainedSAE, model: FrozenModel, rows: RowSet, *, n_rows: int | None = None, heard: Heard = unheard
) -> list[LayerFit]:
    """From the SAE's own layer to the end of the model, over the first `n_rows` rows (None: all).

    Means are over all those tokens, where the paper's code takes them batch by batch. A token that is exactly the mean
    has no ratio and makes the per-token mean infinite or NaN.
    """
    layers = range(sae.layer, model.n_layers + 1)
    means = _means(sae, model, rows, n_rows, layers, lambda done, total: heard(done, 2 * total))
    sums = {layer: (_Sums(), _Sums()) for layer in layers}
    swapped = _Sums()
    for batch in spliced_batches(
        [sae], model, rows, n_rows=n_rows, keep=layers, heard=lambda done, total: heard(total + done, 2 * total)
    ):
        (spliced,) = batch.saes
        for layer in layers:
            clean = batch.clean.residuals[layer]
            changed = spliced.output if layer == sae.layer else spliced.above[layer]
            for form, total, mean in zip((_raw, _normed), sums[layer], means.clean[layer], strict=True):
                total.add(target=form(clean), prediction=form(changed), mean=mean)
        own = _raw(batch.clean.residuals[sae.layer])
        swapped.add(target=_raw(spliced.output), prediction=own, mean=means.output)
    return [
        LayerFit(
            layer, raw.n_tokens, raw.fit(), normed.fit(),
            swapped.fit().explained_variance_per_token if layer == sae.layer else None,
        )
        for layer, (raw, normed) in sums.items()
    ]  # fmt: skip


def _raw(x: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
    return x.double()


def _normed(x: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
    return functional.layer_norm(_raw(x), x.shape[-1:], eps=LAYER_NORM_EPSILON)


class _Means(NamedTuple):
    """Over all tokens, " d_model" float64."""

    clean: dict[int, tuple[Tensor, Tensor]]
    """Of the clean stream, by layer: raw and normed."""
    output: Tensor
    """Of the SAE's output."""


def _means(
    sae: TrainedSAE, model: FrozenModel, rows: RowSet, n_rows: int | None, layers: range, heard: Heard
) -> _Means:
    zero = torch.zeros(model.d_model, dtype=torch.float64, device=model.device)
    clean = {layer: (zero.clone(), zero.clone()) for layer in layers}
    output, n_tokens = zero.clone(), 0
    for batch in spliced_batches([], model, rows, layer=sae.layer, n_rows=n_rows, keep=layers, heard=heard):
        n_tokens += batch.tokens.numel()
        for layer, (raw, normed) in clean.items():
            raw += _raw(batch.clean.residuals[layer]).sum((0, 1))
            normed += _normed(batch.clean.residuals[layer]).sum((0, 1))
        output += _raw(reconstruct(sae, batch.clean.residuals[sae.layer])).sum((0, 1))
    return _Means(
        {layer: (raw / n_tokens, normed / n_tokens) for layer, (raw, normed) in clean.items()}, output / n_tokens
    )


class _Sums:
    """Of one comparison, over batches, in float64."""

    def __init__(self) -> None:
        self.n_tokens, self.d_model = 0, 0
        self.ratio = self.ratio_square = 0.0
        self.rows: list[Tensor] = []
        """Error and spread of each row, "rows 2"."""

    def add(
        self,
        *,
        target: Float[Tensor, "batch pos d_model"],
        prediction: Float[Tensor, "batch pos d_model"],
        mean: Float[Tensor, " d_model"],
    ) -> None:
        error = (prediction - target).square().sum(-1)
        spread = (target - mean).square().sum(-1)
        ratio = error / spread
        self.n_tokens += ratio.numel()
        self.d_model = target.shape[-1]
        self.ratio += float(ratio.sum())
        self.ratio_square += float(ratio.square().sum())
        self.rows.append(torch.stack([error.sum(1), spread.sum(1)], dim=1).cpu())

    def fit(self) -> Fit:
        error, spread = torch.cat(self.rows).unbind(1)
        n, mean_ratio = len(error), self.ratio / self.n_tokens
        per_row = error / (self.n_tokens / n * self.d_model)
        lost = float(error.sum() / spread.sum())
        off = (error - lost * spread).square().sum() * n / (n - 1) if n > 1 else torch.tensor(float("nan"))
        return Fit(
            mse=float(per_row.mean()),
            mse_stderr=float(per_row.std() / n**0.5) if n > 1 else float("nan"),
            explained_variance=1 - lost,
            explained_variance_stderr=float(off.sqrt() / spread.sum()),
            explained_variance_per_token=1 - mean_ratio,
            explained_variance_per_token_std=max(0.0, self.ratio_square / self.n_tokens - mean_ratio**2) ** 0.5,
        )
