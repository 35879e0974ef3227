"""The frozen model as the trainer sees it. Which family it is, and where it came from, is settled in `load.py`."""

import hashlib
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trainer.errors import BadInput
from trainer.models.decoder import Decoder
from trainer.models.facts import ModelFacts
from trainer.models.parts import Linear


class FrozenModel:
    """A language model cut at its blocks: `logits(blocks(embed(tokens), 0, n_layers))` is the whole forward pass.

    The input of block L is the hookpoint `blocks.L.hook_resid_pre`. Rows of a batch do not see each other, so the batch
    axis may be rows, or SAEs times rows. No weight has a gradient; gradients flow through activations.

    `dtype` is the precision of the matrix products. In half precision the residual stream is float32, logits are in
    half precision and shifted by one number per token (see `Conversion.unembedding`).
    """

    def __init__(
        self,
        decoder: Decoder,
        *,
        name: str,
        facts: ModelFacts,
        device: torch.device,
        dtype: torch.dtype,
        weight_files: tuple[Path, ...],
    ) -> None:
        self._decoder = decoder
        self.name = name
        self.facts = facts
        self.device = device
        self.dtype = dtype
        self.weight_files = weight_files

    @property
    def family(self) -> str:
        return self.facts.family

    @property
    def n_layers(self) -> int:
        return self.facts.n_layers

    @property
    def d_model(self) -> int:
        return self.facts.d_model

    @property
    def d_vocab(self) -> int:
        return self.facts.d_vocab

    @property
    def n_context(self) -> int:
        return self.facts.n_context

    @property
    def residual_dtype(self) -> torch.dtype:
        """Precision of the residual stream: `dtype`, or float32 where that is a half precision."""
        return self._decoder.stream_dtype

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the weight file (several: one after the other, by name), whatever device and precision."""
        digest = hashlib.sha256()
        for path in self.weight_files:
            with path.open("rb") as file:
                while chunk := file.read(1 << 22):
                    digest.update(chunk)
        return digest.hexdigest()

    def embed(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        """Residual stream before block 0.

        Raises:
            BadInput: rows longer than the model's context.
        """
        if tokens.shape[1] > self.n_context:
            raise BadInput(f"rows of {tokens.shape[1]} tokens: {self.name} reads at most {self.n_context}")
        return self._decoder.embed(tokens)

    def block(self, index: int, residual: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """Residual stream before block `index` to the stream after it."""
        return self._decoder.block(index, residual.to(self.residual_dtype))

    def blocks(
        self, residual: Float[Tensor, "batch pos d_model"], start: int, stop: int
    ) -> Float[Tensor, "batch pos d_model"]:
        """Residual stream before block `start` to the stream before block `stop`."""
        residual = residual.to(self.residual_dtype)
        for index in range(start, stop):
            residual = self._decoder.block(index, residual)
        return residual

    def final_norm(self, residual: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """The stream after the last block, normed, in `dtype`."""
        return self._decoder.final_norm(residual.to(self.residual_dtype))

    @property
    def unembedding(self) -> Linear:
        """The matrix "vocab d_model" (and bias, where a family has one) that makes logits of what `final_norm` gave."""
        return self._decoder.unembedding

    def unembed(self, normed: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos vocab"]:
        """Logits of what `final_norm` gave."""
        return self._decoder.unembedding(normed)

    def logits(self, residual: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos vocab"]:
        """Logits of the stream after the last block, in `dtype`."""
        return self.unembed(self.final_norm(residual))
