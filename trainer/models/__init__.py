"""The frozen language model, cut at its blocks: `embed`, `blocks` i to j, `logits`.

Weights come from plain `transformers`; each family (GPT-2, GPT-Neo, GPT-NeoX, Llama) has one file that takes its
weights out of transformers' module and runs a block with no cache, no dropout and one fused attention call.
Nothing here knows SAEs, losses or data. transformers is imported only when a model or a tokenizer is loaded.
"""

from trainer.models.facts import ModelFacts
from trainer.models.frozen import FrozenModel
from trainer.models.hookpoints import hookpoint_name, layer_of
from trainer.models.load import FAMILIES, describe_model, load_model
from trainer.models.tokenizer import load_tokenizer

__all__ = [
    "FAMILIES",
    "FrozenModel",
    "ModelFacts",
    "describe_model",
    "hookpoint_name",
    "layer_of",
    "load_model",
    "load_tokenizer",
]
