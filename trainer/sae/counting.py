"""How many latents are positive, of each token and of each element."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

PIECE = {"cpu": 2**18, "cuda": 2**26}
"""Latents counted at a time, by kind of device: what a CPU has in its cache; what is worth a launch on a GPU."""


class Positive(NamedTuple):
    """Numbers of positive latents."""

    per_token: Int[Tensor, "n_saes tokens"]
    per_element: Int[Tensor, "n_saes d_sae"]


@torch.no_grad()
def count_positive(latents: Float[Tensor, "n_saes tokens d_sae"]) -> Positive:
    """Piece by piece, and as numbers: PyTorch sums booleans slowly, by way of 8 bytes for each of them.

    `latents` are of at least 24 bits of precision, so that sums over a piece are exact. One that is not a number is not
    positive.
    """
    n_saes, n_tokens, d_sae = latents.shape
    at_once = max(1, PIECE.get(latents.device.type, PIECE["cpu"]) // max(1, n_saes * d_sae))
    per_token = latents.new_empty(n_saes, n_tokens, dtype=torch.int64)
    per_element = latents.new_zeros(n_saes, d_sae, dtype=torch.int64)
    for start in range(0, n_tokens, at_once):
        piece = latents[:, start : start + at_once]
        ones = torch.gt(piece, 0, out=torch.empty_like(piece, memory_format=torch.contiguous_format))
        per_token[:, start : start + at_once] = ones.sum(-1)
        per_element += ones.sum(1).long()
    return Positive(per_token, per_element)
