"""GPT-NeoX and Pythia: rotary positions; attention and MLP read the same residual stream and are added together."""

from typing import Any, NamedTuple

from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from trainer.models.decoder import Decoder, Family
from trainer.models.facts import ModelFacts, RawConfig
from trainer.models.parts import Conversion, Linear, Norm, activation, causal_attention
from trainer.models.rotary import Rotary


class NeoXBlock(NamedTuple):
    attention_norm: Norm
    qkv: Linear
    """Head by head: query, key, value."""
    attention_out: Linear
    mlp_norm: Norm
    mlp_in: Linear
    mlp_out: Linear


class GPTNeoX(Decoder):
    def __init__(self, model: Any, conversion: Conversion) -> None:
        inner, config = model.gpt_neox, model.config
        self._n_heads = int(config.num_attention_heads)
        self._parallel = bool(config.use_parallel_residual)
        self._activation = activation(config.hidden_act)
        self.stream_dtype = conversion.stream_dtype
        self._token_table = conversion.table(inner.embed_in.weight)
        self._rotary = Rotary(inner.rotary_emb, device=conversion.device, dtype=conversion.dtype)
        self._blocks = [_take_block(layer, conversion) for layer in inner.layers]
        self._scale = float(inner.layers[0].attention.scaling)
        self.final_norm = conversion.layer_norm(inner.final_layer_norm)
        self.unembedding = conversion.unembedding(model.lm_head.weight, model.lm_head.bias)

    def embed(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        return self._token_table[tokens].to(self.stream_dtype)

    def block(self, index: int, residual: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        block = self._blocks[index]
        qkv = block.qkv(block.attention_norm(residual))
        query, key, value = rearrange(
            qkv, "batch pos (heads three d_head) -> three batch heads pos d_head", three=3, heads=self._n_heads
        ).unbind()
        read = causal_attention(self._rotary.turn(query), self._rotary.turn(key), value, scale=self._scale)
        attended = residual + block.attention_out(read)
        mlp_reads = block.mlp_norm(residual if self._parallel else attended)
        return attended + block.mlp_out(self._activation(block.mlp_in(mlp_reads)))


def _take_block(layer: Any, conversion: Conversion) -> NeoXBlock:
    attention, mlp = layer.attention, layer.mlp
    return NeoXBlock(
        attention_norm=conversion.layer_norm(layer.input_layernorm),
        qkv=conversion.reading(attention.query_key_value.weight, attention.query_key_value.bias),
        attention_out=conversion.writing(attention.dense.weight, attention.dense.bias),
        mlp_norm=conversion.layer_norm(layer.post_attention_layernorm),
        mlp_in=conversion.reading(mlp.dense_h_to_4h.weight, mlp.dense_h_to_4h.bias),
        mlp_out=conversion.writing(mlp.dense_4h_to_h.weight, mlp.dense_4h_to_h.bias),
    )


def gpt_neox_facts(config: RawConfig) -> ModelFacts:
    """Shape of a GPT-NeoX from its `config.json`."""
    d_model, n_layers = config.integer("hidden_size"), config.integer("num_hidden_layers")
    d_vocab, n_context = config.integer("vocab_size"), config.integer("max_position_embeddings")
    d_mlp = config.integer("intermediate_size")
    attention_biases = 4 * d_model if config.flag("attention_bias", default=True) else 0
    per_block = (4 * d_model**2 + attention_biases) + (2 * d_model * d_mlp + d_mlp + d_model) + 4 * d_model
    n_tables = 1 if config.flag("tie_word_embeddings", default=False) else 2
    n_parameters = n_tables * d_vocab * d_model + n_layers * per_block + 2 * d_model
    return ModelFacts(
        n_layers=n_layers, d_model=d_model, d_vocab=d_vocab, n_context=n_context, family="gpt_neox", d_mlp=d_mlp,
        n_parameters=n_parameters,
    )  # fmt: skip


GPT_NEOX_FAMILY = Family("gpt_neox", "GPTNeoXForCausalLM", gpt_neox_facts, GPTNeoX, can_center=True)
