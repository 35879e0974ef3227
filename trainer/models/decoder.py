"""What a family of models provides: its weights, taken once from transformers' module, and how to run them."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trainer.models.facts import ModelFacts, RawConfig
from trainer.models.parts import Conversion, Linear, Norm


class Decoder(ABC):
    """A model in pieces. All weights are without gradient; activations may have one."""

    final_norm: Norm
    unembedding: Linear
    stream_dtype: torch.dtype
    """Of the residual stream: what `embed` gives and `block` takes and gives."""

    @abstractmethod
    def embed(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        """Input of block 0."""

    @abstractmethod
    def block(self, index: int, residual: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """Input of block `index` to its output. Rows of the batch do not see each other."""


class Family(NamedTuple):
    """One transformers family."""

    model_type: str
    """As in `config.json`."""
    transformers_class: str
    """Name of the class in `transformers` that reads the weights."""
    facts: Callable[[RawConfig], ModelFacts]
    decoder: Callable[[Any, Conversion], Decoder]
    """From an instance of that class."""
    can_center: bool
    """Whether every reader of the residual stream removes its mean first."""
