"""What a metric is: a column, its meaning, and how sums over batches become its value."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor

Sums = dict[str, Tensor]
"""Sums over batches by name, in float64, first axis `n_saes`. Two halves of a batch add up to the whole."""


@dataclass(frozen=True)
class Metric:
    """One column of a row."""

    column: str
    unit: str
    better: Literal["lower", "higher", "neither"]
    description: str
    finish: Callable[[Sums], Tensor]
    """From sums over the whole evaluation set to " n_saes", or "n_saes n" for a metric that is a list."""


class EvalBatch(NamedTuple):
    """What is known of one evaluation batch and one bank. "Clean" is the frozen model alone."""

    sae_input: Float[Tensor, "batch pos d_model"]
    sae_output: Float[Tensor, "n_saes batch pos d_model"]
    input_mean: Float[Tensor, " d_model"]
    """Mean of `sae_input` over the whole evaluation set."""
    l0: Float[Tensor, " n_saes"]
    """Mean positive latents per token of this batch."""
    later_squares: Float[Tensor, "n_saes n_later"]
    """Mean over tokens and `d_model` of (SAE - clean)² at the input of each later block."""
    ce_clean: Float[Tensor, " batch"]
    """Mean nats per predicted token of each row."""
    ce_sae: Float[Tensor, "n_saes batch"]
    ce_ablated: Float[Tensor, " batch"]
    """The same with the residual stream at the hookpoint set to zero."""
    kl: Float[Tensor, "n_saes batch"]
    """KL(clean || SAE), mean over the positions of each row."""

    @property
    def n_rows(self) -> int:
        return self.sae_input.shape[0]

    @property
    def n_tokens(self) -> int:
        return self.sae_input.shape[0] * self.sae_input.shape[1]
