"""The terms a loss is made of, as pure functions over the SAEs of a bank. Each returns one number per SAE.

All means run over every token of the batch, position 0 and the last included (Braun et al. 2024, section 2.2 and its
code, `losses.py: calc_loss`). Reconstruction terms are mean squares over `d_model` too, not sums: the paper's
coefficients only work that way (docs/decisions/0002-the-paper-and-its-code.md).
"""

from typing import Any

import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from trainer.models.parts import Linear
from trainer.parallel import has_numba

CHUNK_ELEMENTS = {"cpu": 2**22, "cuda": 2**26}
"""Logits held at a time, in numbers, by kind of device: bounds the memory of the KL term. A CPU has them in its cache;
a GPU wants products that are worth a launch (with GPT-2's vocabulary and 8 SAEs, 166 tokens at a time)."""


def chunk_elements(device: torch.device) -> int:
    return CHUNK_ELEMENTS.get(device.type, CHUNK_ELEMENTS["cpu"])


def mse_term(
    *, target: Float[Tensor, "tokens d_model"], prediction: Float[Tensor, "n_saes tokens d_model"]
) -> Float[Tensor, " n_saes"]:
    """Mean square of `prediction - target` over tokens and `d_model`."""
    return reduce((prediction - target).square(), "n_saes tokens d_model -> n_saes", "mean")


def kl_clean_to_sae(
    *, clean_logits: Float[Tensor, "tokens vocab"], sae_logits: Float[Tensor, "n_saes tokens vocab"]
) -> Float[Tensor, " n_saes"]:
    """KL(clean || SAE) in nats, mean over tokens: sum_v p_clean (log p_clean - log p_sae). The plain path."""
    clean = clean_logits.log_softmax(-1)
    sae = sae_logits.log_softmax(-1)
    return reduce(clean.exp() * (clean - sae), "n_saes tokens vocab -> n_saes tokens", "sum").mean(-1)


def kl_from_normed(
    *,
    clean: Float[Tensor, "tokens d_model"],
    sae: Float[Tensor, "n_saes tokens d_model"],
    unembedding: Linear,
) -> Float[Tensor, " n_saes"]:
    """`kl_clean_to_sae` of the logits that two final, normalised residual streams give, never holding all logits.

    Runs in chunks over tokens. The gradient with respect to the logits, (p_sae - p_clean) / tokens, is formed in the
    forward pass and pulled back through the unembedding at once, so memory is bounded by one chunk. On a CPU
    `kl_cpu.py` does the work in float32 and bfloat16, if numba is there.
    """
    return _ChunkedKL.apply(sae, clean.detach(), unembedding.weight, unembedding.bias)  # type: ignore[no-any-return]


class _ChunkedKL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sae: Tensor, clean: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        needs_grad = ctx.needs_input_grad[0]
        grad = torch.empty_like(sae, memory_format=torch.contiguous_format) if needs_grad else None
        total = _kl_sums(clean=clean, sae=sae, weight=weight, bias=bias, gradient=grad)
        if grad is not None:
            ctx.save_for_backward(grad)
        ctx.n_tokens = sae.shape[1]
        return total / sae.shape[1]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = ctx.saved_tensors
        scale = (grad_outputs[0] / ctx.n_tokens).to(grad.dtype)
        return grad * scale[:, None, None], None, None, None


def _kl_sums(
    *, clean: Tensor, sae: Tensor, weight: Tensor, bias: Tensor | None, gradient: Tensor | None
) -> Float[Tensor, " n_saes"]:
    """Sum over tokens of the KL of each SAE; its gradient goes into `gradient`, where there is one."""
    if sae.device.type == "cpu" and sae.dtype in (torch.float32, torch.bfloat16) and has_numba():
        from trainer.losses import kl_cpu  # loads numba

        clean, sae = clean.contiguous(), sae.contiguous()
        return kl_cpu.kl_and_gradient(clean=clean, sae=sae, weight=weight, bias=bias, gradient=gradient)
    n_saes, n_tokens, _ = sae.shape
    chunk = max(1, chunk_elements(sae.device) // (weight.shape[0] * n_saes))
    total = torch.zeros(n_saes, dtype=torch.promote_types(sae.dtype, torch.float32), device=sae.device)
    for start in range(0, n_tokens, chunk):
        here = slice(start, start + chunk)
        clean_log_p = functional.linear(clean[here], weight, bias).to(total.dtype).log_softmax(-1)
        clean_p = clean_log_p.exp()
        log_p = functional.linear(sae[:, here], weight, bias).to(total.dtype).log_softmax(-1)
        # sum_v p_clean (log p_clean - log p_sae), as two dot products
        total += torch.einsum("tv,tv->", clean_p, clean_log_p) - torch.einsum("tv,ktv->k", clean_p, log_p)
        if gradient is not None:
            gradient[:, here] = log_p.exp_().sub_(clean_p).to(sae.dtype) @ weight
    return total
