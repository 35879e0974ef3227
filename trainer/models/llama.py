"""Llama: rotary positions, RMSNorm, a gated MLP, and heads that may share keys and values."""

from typing import Any, NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from trainer.models.decoder import Decoder, Family
from trainer.models.facts import ModelFacts, RawConfig
from trainer.models.parts import Conversion, Linear, Norm, activation, causal_attention
from trainer.models.rotary import Rotary


class LlamaBlock(NamedTuple):
    attention_norm: Norm
    qkv: Linear
    """All query heads, then all key heads, then all value heads."""
    attention_out: Linear
    mlp_norm: Norm
    gate_and_up: Linear
    """The gate, then what it lets through, each `d_mlp` wide."""
    down: Linear


class Llama(Decoder):
    def __init__(self, model: Any, conversion: Conversion) -> None:
        inner, config = model.model, model.config
        self._n_heads = int(config.num_attention_heads)
        self._n_kv_heads = int(config.num_key_value_heads)
        self._activation = activation(config.hidden_act)
        self.stream_dtype = conversion.stream_dtype
        self._token_table = conversion.table(inner.embed_tokens.weight)
        self._rotary = Rotary(inner.rotary_emb, device=conversion.device, dtype=conversion.dtype)
        self._blocks = [_take_block(layer, conversion) for layer in inner.layers]
        self._scale = float(inner.layers[0].self_attn.scaling)
        self.final_norm = conversion.rms_norm(inner.norm.weight, inner.norm.variance_epsilon)
        self.unembedding = conversion.unembedding(model.lm_head.weight, model.lm_head.bias)

    def embed(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        return self._token_table[tokens].to(self.stream_dtype)

    def block(self, index: int, residual: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        block = self._blocks[index]
        n_turned = self._n_heads + self._n_kv_heads
        heads = rearrange(
            block.qkv(block.attention_norm(residual)),
            "batch pos (heads d_head) -> batch heads pos d_head", heads=n_turned + self._n_kv_heads,
        )  # fmt: skip
        turned = self._rotary.turn(heads[:, :n_turned])
        query, key = turned[:, : self._n_heads], turned[:, self._n_heads :]
        read = causal_attention(query, key, heads[:, n_turned:], scale=self._scale)
        residual = residual + block.attention_out(read)
        gate, up = block.gate_and_up(block.mlp_norm(residual)).chunk(2, dim=-1)
        return residual + block.down(self._activation(gate) * up)


def _take_block(layer: Any, conversion: Conversion) -> LlamaBlock:
    attention, mlp = layer.self_attn, layer.mlp
    norms = [
        conversion.rms_norm(norm.weight, norm.variance_epsilon)
        for norm in (layer.input_layernorm, layer.post_attention_layernorm)
    ]
    return LlamaBlock(
        attention_norm=norms[0],
        qkv=_joined(conversion, attention.q_proj, attention.k_proj, attention.v_proj),
        attention_out=conversion.writing(attention.o_proj.weight, attention.o_proj.bias),
        mlp_norm=norms[1],
        gate_and_up=_joined(conversion, mlp.gate_proj, mlp.up_proj),
        down=conversion.writing(mlp.down_proj.weight, mlp.down_proj.bias),
    )


def _joined(conversion: Conversion, *layers: Any) -> Linear:
    """Several matrices that read the same input, as one."""
    bias = None if layers[0].bias is None else torch.cat([layer.bias for layer in layers])
    return conversion.reading(torch.cat([layer.weight for layer in layers]), bias)


def llama_facts(config: RawConfig) -> ModelFacts:
    """Shape of a Llama from its `config.json`."""
    d_model, n_layers = config.integer("hidden_size"), config.integer("num_hidden_layers")
    d_vocab, n_context = config.integer("vocab_size"), config.integer("max_position_embeddings")
    d_mlp, n_heads = config.integer("intermediate_size"), config.integer("num_attention_heads")
    d_head = config.integer("head_dim", default=max(1, d_model // n_heads))
    d_query, d_kv = n_heads * d_head, config.integer("num_key_value_heads", default=n_heads) * d_head
    attention = 2 * d_model * (d_query + d_kv)
    if config.flag("attention_bias", default=False):
        attention += d_query + 2 * d_kv + d_model
    mlp_biases = 2 * d_mlp + d_model if config.flag("mlp_bias", default=False) else 0
    per_block = attention + 3 * d_model * d_mlp + mlp_biases + 2 * d_model
    n_tables = 1 if config.flag("tie_word_embeddings", default=False) else 2
    n_parameters = n_tables * d_vocab * d_model + n_layers * per_block + d_model
    return ModelFacts(
        n_layers=n_layers, d_model=d_model, d_vocab=d_vocab, n_context=n_context, family="llama", d_mlp=d_mlp,
        n_parameters=n_parameters,
    )  # fmt: skip


LLAMA_FAMILY = Family("llama", "LlamaForCausalLM", llama_facts, Llama, can_center=False)
