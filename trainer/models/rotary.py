"""Rotary positions: queries and keys turned by an angle that grows with their position."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class Rotary:
    """Cosines and sines for rows of a length, made once per length by transformers' own module.

    That module knows every scaling rule (linear, dynamic, llama3, ...), so none is repeated here.
    """

    def __init__(self, module: Any, *, device: torch.device, dtype: torch.dtype) -> None:
        self._module = module.to(device)
        self._like = torch.empty(0, device=device, dtype=dtype)
        self._angles: dict[int, tuple[Tensor, Tensor]] = {}

    def angles(self, n_positions: int) -> tuple[Float[Tensor, "pos d_rotary"], Float[Tensor, "pos d_rotary"]]:
        """(cosines, sines)."""
        if n_positions not in self._angles:
            with torch.inference_mode(False):  # kept, so they must be ordinary tensors whoever asks first
                positions = torch.arange(n_positions, device=self._like.device)[None]
                cosines, sines = self._module(self._like, positions)
                self._angles[n_positions] = cosines[0], sines[0]
        return self._angles[n_positions]

    def turn(self, heads: Float[Tensor, "batch heads pos d_head"]) -> Float[Tensor, "batch heads pos d_head"]:
        """The first `d_rotary` of each head turned, entry i with entry i + d_rotary / 2; the rest as it was."""
        cosines, sines = self.angles(heads.shape[2])
        d_rotary = cosines.shape[-1]
        turned, kept = heads[..., :d_rotary], heads[..., d_rotary:]
        first, second = turned.chunk(2, dim=-1)
        turned = turned * cosines + torch.cat([-second, first], dim=-1) * sines
        return torch.cat([turned, kept], dim=-1) if kept.shape[-1] else turned
