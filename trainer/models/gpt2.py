"""GPT-2: learned positions, LayerNorm before attention and before the MLP, one matrix for queries, keys and values."""

from typing import Any, NamedTuple

from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from trainer.models.decoder import Decoder, Family
from trainer.models.facts import ModelFacts, RawConfig
from trainer.models.parts import Conversion, Linear, Norm, activation, causal_attention


class SequentialBlock(NamedTuple):
    """Weights of a block whose MLP reads what its attention wrote."""

    attention_norm: Norm
    qkv: Linear
    """Queries, then keys, then values, each `d_model` wide."""
    attention_out: Linear
    mlp_norm: Norm
    mlp_in: Linear
    mlp_out: Linear


class GPT2(Decoder):
    def __init__(self, model: Any, conversion: Conversion) -> None:
        inner, config = model.transformer, model.config
        self._n_heads = int(config.num_attention_heads)
        self._activation = activation(config.activation_function)
        self.stream_dtype = conversion.stream_dtype
        self._token_table = conversion.table(inner.wte.weight)
        self._position_table = conversion.table(inner.wpe.weight)
        self._blocks = [self._take_block(block, conversion) for block in inner.h]
        self._scales = [self._scale(block) for block in inner.h]
        self.final_norm = conversion.layer_norm(inner.ln_f)
        self.unembedding = conversion.unembedding(model.lm_head.weight, model.lm_head.bias)

    def _take_block(self, block: Any, conversion: Conversion) -> SequentialBlock:
        attention, mlp = block.attn, block.mlp  # GPT-2 stores its matrices as "d_in d_out"
        return SequentialBlock(
            attention_norm=conversion.layer_norm(block.ln_1),
            qkv=conversion.reading(attention.c_attn.weight.T, attention.c_attn.bias),
            attention_out=conversion.writing(attention.c_proj.weight.T, attention.c_proj.bias),
            mlp_norm=conversion.layer_norm(block.ln_2),
            mlp_in=conversion.reading(mlp.c_fc.weight.T, mlp.c_fc.bias),
            mlp_out=conversion.writing(mlp.c_proj.weight.T, mlp.c_proj.bias),
        )

    def _scale(self, block: Any) -> float:
        return float(block.attn.scaling)

    def _mask(self, index: int, n_positions: int) -> Float[Tensor, "pos pos"] | None:
        """What block `index` adds to its attention scores where plain causal attention does not do."""
        del index, n_positions
        return None

    def embed(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        positions = self._position_table[: tokens.shape[1]]
        return self._token_table[tokens].to(self.stream_dtype) + positions.to(self.stream_dtype)

    def block(self, index: int, residual: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        block = self._blocks[index]
        qkv = block.qkv(block.attention_norm(residual))
        query, key, value = rearrange(
            qkv, "batch pos (three heads d_head) -> three batch heads pos d_head", three=3, heads=self._n_heads
        ).unbind()
        mask = self._mask(index, residual.shape[1])
        read = causal_attention(query, key, value, scale=self._scales[index], mask=mask)
        residual = residual + block.attention_out(read)
        return residual + block.mlp_out(self._activation(block.mlp_in(block.mlp_norm(residual))))


def gpt2_facts(config: RawConfig) -> ModelFacts:
    """Shape of a GPT-2 from its `config.json`."""
    d_model, n_layers = config.integer("n_embd", "hidden_size"), config.integer("n_layer", "num_hidden_layers")
    d_vocab, n_context = config.integer("vocab_size"), config.integer("n_positions", "max_position_embeddings")
    d_mlp = config.integer("n_inner", default=4 * d_model)
    per_block = (4 * d_model**2 + 4 * d_model) + (2 * d_model * d_mlp + d_mlp + d_model) + 4 * d_model
    tables = (d_vocab + n_context) * d_model
    untied = 0 if config.flag("tie_word_embeddings", default=True) else d_vocab * d_model
    n_parameters = tables + untied + n_layers * per_block + 2 * d_model
    return ModelFacts(
        n_layers=n_layers, d_model=d_model, d_vocab=d_vocab, n_context=n_context, family="gpt2", d_mlp=d_mlp,
        n_parameters=n_parameters,
    )  # fmt: skip


GPT2_FAMILY = Family("gpt2", "GPT2LMHeadModel", gpt2_facts, GPT2, can_center=True)
