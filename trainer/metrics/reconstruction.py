"""How much of the activation the SAE keeps, at its own hookpoint and later."""

import torch
from einops import reduce
from torch import Tensor

from trainer.metrics.metric import EvalBatch, Metric, Sums


def sums(batch: EvalBatch) -> Sums:
    x, x_hat = batch.sae_input.double(), batch.sae_output.double()
    n_saes = x_hat.shape[0]
    error = reduce((x_hat - x).square(), "n_saes batch pos d_model -> n_saes batch pos", "sum")
    spread = reduce((x - batch.input_mean.double()).square(), "batch pos d_model -> batch pos", "sum")
    norm_in, norm_out = x.norm(dim=-1), x_hat.norm(dim=-1)
    ratio = norm_out / norm_in
    cosine = (x_hat * x).sum(-1) / (norm_out * norm_in).clamp(min=1e-30)

    def same(value: float | Tensor) -> Tensor:
        return torch.as_tensor(value, dtype=torch.float64, device=x.device).expand(n_saes).clone()

    return {
        "tokens": same(float(batch.n_tokens)),
        "d_model": same(float(batch.n_tokens * x.shape[-1])),
        "first_tokens": same(float(batch.n_rows)),
        "error": error.sum((1, 2)),
        "spread": same(spread.sum()),
        "error_over_spread": (error / spread).sum((1, 2)),
        "ratio_first": ratio[:, :, 0].sum(-1),
        "ratio_rest": ratio[:, :, 1:].sum((1, 2)),
        "cosine": cosine.sum((1, 2)),
        "later_squares": batch.later_squares.double() * batch.n_tokens,
    }


METRICS = (
    Metric(
        "mse", "activation² per dimension", "lower",
        "Mean over tokens and d_model of (SAE output - SAE input)².", lambda s: s["error"] / s["d_model"],
    ),
    Metric(
        "explained_variance", "share", "higher",
        "1 - sum |x - x_hat|² / sum |x - mean x|²: 1 is perfect, 0 is what predicting the mean gives.",
        lambda s: 1 - s["error"] / s["spread"],
    ),
    Metric(
        "explained_variance_per_token", "share", "higher",
        "Mean over tokens of 1 - |x - x_hat|² / |x - mean x|², the paper's mean of ratios.",
        lambda s: 1 - s["error_over_spread"] / s["tokens"],
    ),
    Metric(
        "l2_ratio_pos0", "ratio", "neither",
        "Mean of |SAE output| / |SAE input| at position 0 (paper, Table 5).",
        lambda s: s["ratio_first"] / s["first_tokens"],
    ),
    Metric(
        "l2_ratio_rest", "ratio", "neither",
        "Mean of |SAE output| / |SAE input| at positions after 0 (paper, Table 5).",
        lambda s: s["ratio_rest"] / (s["tokens"] - s["first_tokens"]),
    ),
    Metric(
        "cosine", "cosine", "higher", "Mean cosine of SAE output and SAE input.", lambda s: s["cosine"] / s["tokens"]
    ),
    Metric(
        "downstream_mse", "activation² per dimension", "lower",
        "Mean of (SAE - clean)² at the input of each later block, a list from the next block to the last.",
        lambda s: s["later_squares"] / s["tokens"][:, None],
    ),
)  # fmt: skip
