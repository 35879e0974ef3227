"""How many dictionary elements are used: per token, and at all."""

import torch
from torch import Tensor

from trainer.metrics.metric import EvalBatch, Metric, Sums

DENSITY_EDGES = [-7.0 + 0.5 * i for i in range(15)]
"""Edges of the bins of log10(share of tokens on which an element fires): -7, -6.5, ... 0."""


def sums(batch: EvalBatch) -> Sums:
    tokens = torch.full_like(batch.l0, float(batch.n_tokens), dtype=torch.float64)
    return {"l0": batch.l0.double() * batch.n_tokens, "l0_tokens": tokens}


def window_sums(firing_counts: Tensor, *, n_tokens: int) -> Sums:
    """`firing_counts` "n_saes d_sae": tokens of the alive window on which each element fired."""
    return {
        "firing_counts": firing_counts.double(),
        "window_tokens": torch.full(firing_counts.shape[:1], float(n_tokens), dtype=torch.float64),
    }


def _n_alive(s: Sums) -> Tensor:
    return (s["firing_counts"] > 0).sum(-1)


def _density_histogram(s: Sums) -> Tensor:
    """Elements per bin; the first bin holds the dead ones."""
    log_density = (s["firing_counts"] / s["window_tokens"][:, None]).log10()
    edges = torch.tensor(DENSITY_EDGES, dtype=torch.float64)
    bins = torch.bucketize(log_density.cpu(), edges, right=True).clamp(max=len(DENSITY_EDGES) - 1)
    bins = torch.where(s["firing_counts"].cpu() > 0, bins.clamp(min=1), 0)
    return torch.stack([torch.bincount(row, minlength=len(DENSITY_EDGES)) for row in bins])


METRICS = (
    Metric(
        "l0", "elements per token", "lower", "Mean number of positive latents per token.",
        lambda s: s["l0"] / s["l0_tokens"],
    ),
)  # fmt: skip

WINDOW_METRICS = (
    Metric(
        "n_alive_elements", "elements", "lower",
        "Dictionary elements that fire at least once on the alive window, with the final weights.", _n_alive,
    ),
    Metric(
        "frac_alive", "share", "neither", "n_alive_elements / d_sae.",
        lambda s: _n_alive(s) / s["firing_counts"].shape[-1],
    ),
    Metric(
        "density_histogram", "elements", "neither",
        "Elements by log10 of the share of tokens they fire on: dead first, then bins of half a decade from -7 to 0.",
        _density_histogram,
    ),
)  # fmt: skip
