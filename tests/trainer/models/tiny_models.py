"""Tiny random models of every family, saved as transformers saves them, and transformers' own float64 run of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

N_LAYERS, D_MODEL, D_VOCAB, N_CONTEXT = 4, 32, 61, 24

_LLAMA = {
    "vocab_size": D_VOCAB, "hidden_size": D_MODEL, "num_hidden_layers": N_LAYERS, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 56, "max_position_embeddings": N_CONTEXT, "bos_token_id": 0,
    "eos_token_id": 0, "attention_dropout": 0.5,
}  # fmt: skip
_NEOX = {
    "vocab_size": D_VOCAB, "hidden_size": D_MODEL, "num_hidden_layers": N_LAYERS, "num_attention_heads": 4,
    "intermediate_size": 72, "max_position_embeddings": N_CONTEXT, "bos_token_id": 0, "eos_token_id": 0,
    "attention_dropout": 0.5, "hidden_dropout": 0.5,
}  # fmt: skip
_GPT2 = {
    "vocab_size": D_VOCAB, "n_embd": D_MODEL, "n_layer": N_LAYERS, "n_head": 4, "n_positions": N_CONTEXT,
    "bos_token_id": 0, "eos_token_id": 0, "embd_pdrop": 0.5, "resid_pdrop": 0.5, "attn_pdrop": 0.5,
}  # fmt: skip
_NEO = {
    "vocab_size": D_VOCAB, "hidden_size": D_MODEL, "num_layers": N_LAYERS, "num_heads": 4, "window_size": 5,
    "attention_types": [[["global", "local"], N_LAYERS // 2]], "max_position_embeddings": N_CONTEXT, "bos_token_id": 0,
    "eos_token_id": 0, "embed_dropout": 0.5, "resid_dropout": 0.5, "attention_dropout": 0.5,
}  # fmt: skip
_LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 100.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8,
}  # fmt: skip

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", _GPT2),
    "gpt2-scaled-relu": (
        "GPT2",
        {**_GPT2, "n_inner": 40, "activation_function": "relu", "scale_attn_by_inverse_layer_idx": True},
    ),
    "gpt2-untied-exact-gelu": ("GPT2", {**_GPT2, "tie_word_embeddings": False, "activation_function": "gelu"}),
    "gpt_neo": ("GPTNeo", _NEO),
    "gpt_neo-one-window": ("GPTNeo", {**_NEO, "window_size": N_CONTEXT, "intermediate_size": 40}),
    "gpt_neox": ("GPTNeoX", _NEOX),
    "gpt_neox-sequential": ("GPTNeoX", {**_NEOX, "use_parallel_residual": False, "attention_bias": False}),
    "gpt_neox-whole-rotary": ("GPTNeoX", {**_NEOX, "rotary_pct": 1.0, "tie_word_embeddings": True}),
    "llama": ("Llama", _LLAMA),
    "llama-biased-tied": (
        "Llama",
        {**_LLAMA, "attention_bias": True, "mlp_bias": True, "head_dim": 10, "tie_word_embeddings": True},
    ),
    "llama-scaled-rotary": ("Llama", {**_LLAMA, "num_key_value_heads": 4, "rope_parameters": _LLAMA3_ROPE}),
}
CENTRABLE = [name for name in CASES if not name.startswith("llama")]


@dataclass(frozen=True)
class Saved:
    """A random model on disk, and the same in transformers."""

    folder: Path
    reference: Any

    @property
    def layers(self) -> nn.ModuleList:
        inner = self.reference.base_model
        return inner.h if hasattr(inner, "h") else inner.layers

    def run(self, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
        """transformers' logits, and the input of each block (`hidden_states[L]`)."""
        output = self.reference(tokens, output_hidden_states=True, use_cache=False)
        return output.logits, list(output.hidden_states[:N_LAYERS])

    def logits_from(self, tokens: Tensor, layer: int, residual: Tensor) -> Tensor:
        """transformers' logits with the input of block `layer` replaced."""
        hook = self.layers[layer].register_forward_pre_hook(lambda _, inputs: (residual, *inputs[1:]))
        try:
            return self.reference(tokens, use_cache=False).logits
        finally:
            hook.remove()


def save_tiny_model(case: str, folder: Path) -> Saved:
    """A random float64 model of a case of `CASES`, saved into `folder`."""
    prefix, settings = CASES[case]
    torch.manual_seed(0)
    config = getattr(transformers, f"{prefix}Config")(**settings)
    kind = "GPT2LMHeadModel" if prefix == "GPT2" else f"{prefix}ForCausalLM"
    model = getattr(transformers, kind)(config).double().eval().requires_grad_(False)
    for parameter in model.parameters():  # no weight may stay at a value that hides it, such as a zero bias
        parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return Saved(folder, model)
