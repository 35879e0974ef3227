"""GPT-Neo: as GPT-2, but every other block reads only a window of positions, and scores are not scaled."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trainer.models.decoder import Family
from trainer.models.facts import ModelFacts, RawConfig
from trainer.models.gpt2 import GPT2, SequentialBlock
from trainer.models.parts import Conversion


class GPTNeo(GPT2):
    def __init__(self, model: Any, conversion: Conversion) -> None:
        super().__init__(model, conversion)
        self._is_local = [kind == "local" for kind in model.config.attention_layers]
        self._window = int(model.config.window_size)
        self._masks: dict[int, Tensor] = {}

    def _take_block(self, block: Any, conversion: Conversion) -> SequentialBlock:
        attention, mlp = block.attn.attention, block.mlp
        qkv = torch.cat([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight])
        return SequentialBlock(
            attention_norm=conversion.layer_norm(block.ln_1),
            qkv=conversion.reading(qkv, None),
            attention_out=conversion.writing(attention.out_proj.weight, attention.out_proj.bias),
            mlp_norm=conversion.layer_norm(block.ln_2),
            mlp_in=conversion.reading(mlp.c_fc.weight, mlp.c_fc.bias),
            mlp_out=conversion.writing(mlp.c_proj.weight, mlp.c_proj.bias),
        )

    def _scale(self, block: Any) -> float:
        return 1.0

    def _mask(self, index: int, n_positions: int) -> Float[Tensor, "pos pos"] | None:
        """0 where a position of a local block reads, -inf elsewhere; made once per length."""
        if not self._is_local[index] or n_positions <= self._window:
            return None  # the window holds the whole row
        if n_positions not in self._masks:
            with torch.inference_mode(False):  # kept, so it must be an ordinary tensor whoever asks first
                self._masks[n_positions] = _window_mask(n_positions, self._window, like=self._blocks[0].qkv.weight)
        return self._masks[n_positions]


def _window_mask(n_positions: int, window: int, *, like: Tensor) -> Float[Tensor, "pos pos"]:
    reads = torch.ones(n_positions, n_positions, dtype=torch.bool, device=like.device).tril().triu(1 - window)
    return torch.zeros_like(reads, dtype=like.dtype).masked_fill(~reads, -torch.inf)


def gpt_neo_facts(config: RawConfig) -> ModelFacts:
    """Shape of a GPT-Neo from its `config.json`."""
    d_model, n_layers = config.integer("hidden_size"), config.integer("num_layers", "num_hidden_layers")
    d_vocab, n_context = config.integer("vocab_size"), config.integer("max_position_embeddings")
    d_mlp = config.integer("intermediate_size", default=4 * d_model)
    per_block = (4 * d_model**2 + d_model) + (2 * d_model * d_mlp + d_mlp + d_model) + 4 * d_model
    tables = (d_vocab + n_context) * d_model
    untied = 0 if config.flag("tie_word_embeddings", default=True) else d_vocab * d_model
    n_parameters = tables + untied + n_layers * per_block + 2 * d_model
    return ModelFacts(
        n_layers=n_layers, d_model=d_model, d_vocab=d_vocab, n_context=n_context, family="gpt_neo", d_mlp=d_mlp,
        n_parameters=n_parameters,
    )  # fmt: skip


GPT_NEO_FAMILY = Family("gpt_neo", "GPTNeoForCausalLM", gpt_neo_facts, GPTNeo, can_center=True)
