"""The sparse path of a bank: a dense encoder product, then work for the positive latents only.

The same numbers as the dense path in `bank.py`, up to the order of sums. After a few hundred steps a latent vector has
tens of non-zeros in thousands, so decoder, both weight gradients and firing counts cost little beside the product.
Which path to take is `density.py`'s question. The work is done by `sparse_cpu.py` (numba), `sparse_triton.py` (GPUs)
or `sparse_torch.py` (anything).
"""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainer.parallel import has_numba
from trainer.sae import sparse_torch
from trainer.sae.density import WITH_NUMBA, WITH_TORCH, DensitySwitch
from trainer.sae.nonzeros import Nonzeros, Room
from trainer.sae.types import BankOutput

MIN_NORM = 1e-12
"""As in `torch.nn.functional.normalize`: a row of zeros stays a row of zeros."""


def sparse_bank(
    x: Float[Tensor, "tokens d_model"],
    *,
    w_enc: Float[Tensor, "n_saes d_sae d_model"],
    b_enc: Float[Tensor, "n_saes d_sae"],
    w_dec: Float[Tensor, "n_saes d_sae d_model"],
    b_dec: Float[Tensor, "n_saes d_model"],
    compute_dtype: torch.dtype | None = None,
    room: Room | None = None,
) -> BankOutput:
    """Every SAE of a bank on the same activations: output = ReLU(W_enc x + b_enc) D + b_dec, D = rows of w_dec / norm.

    Gradients reach the four weights; those of elements that did not fire are exactly zero. A latent that is not a
    number counts as positive, so it is not lost. Memory beyond the results grows with the number of positive latents.
    `compute_dtype` is the precision of the encoder product, where it is not that of the weights; all else, which costs
    little, is done in that of the weights. With a `room` the caller has to ask whether it was enough; without, no more
    is needed.

    Raises:
        ValueError: `x` wants a gradient. The model below an SAE is frozen, so there is none.
    """
    if x.requires_grad and torch.is_grad_enabled():
        raise ValueError("sparse_bank got an x that requires a gradient and computes none for it: pass x.detach()")
    given = Room() if room is None else room
    while True:
        found = _apply(_SparseBank)(x, w_enc, b_enc, w_dec, b_dec, compute_dtype or w_enc.dtype, given)
        if room is not None or given.was_enough():
            return BankOutput(*found)


@cache
def has_triton() -> bool:
    """Whether kernels for a GPU can be compiled. Looks without importing."""
    return find_spec("triton") is not None


def engine_for(tensor: Tensor) -> ModuleType:
    """The module that does the work for this device and precision of the weights."""
    if tensor.device.type == "cuda" and tensor.dtype == torch.float32 and has_triton():
        from trainer.sae import sparse_triton  # loads triton

        return sparse_triton
    if tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64) and has_numba():
        from trainer.sae import sparse_cpu  # loads numba, a fifth of a second

        return sparse_cpu
    return sparse_torch


def switch_for(tensor: Tensor) -> DensitySwitch:
    """The switch that a bank of such tensors starts with."""
    return WITH_NUMBA if engine_for(tensor).__name__.endswith("cpu") else WITH_TORCH


def _apply(function: type[torch.autograd.Function]) -> Callable[..., tuple[Tensor, ...]]:
    return cast("Callable[..., tuple[Tensor, ...]]", function.apply)


class _SparseBank(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w_enc: Tensor,
        b_enc: Tensor,
        w_dec: Tensor,
        b_dec: Tensor,
        compute_dtype: torch.dtype,
        room: Room,
    ) -> tuple[Tensor, ...]:
        n_saes, d_sae, d_model = w_enc.shape
        n_tokens, engine = x.shape[0], engine_for(x)
        x, flat_dec = x.contiguous(), w_dec.detach().reshape(-1, d_model)
        flat_enc, flat_bias = w_enc.detach().reshape(-1, d_model), b_enc.detach().reshape(-1)
        nonzeros = engine.compact(x, flat_enc, flat_bias, n_saes=n_saes, compute_dtype=compute_dtype, room=room)
        scales = torch.linalg.vector_norm(flat_dec, dim=-1).clamp_min_(MIN_NORM).reciprocal_()
        output = b_dec.detach()[:, None].expand(n_saes, n_tokens, d_model).clone(memory_format=torch.contiguous_format)
        engine.add_elements(nonzeros, scales=scales, w_dec=flat_dec, output=output)
        firing_counts = nonzeros.offsets.diff().view(n_saes, d_sae)
        l1 = engine.sums(nonzeros, n_saes=n_saes) / n_tokens
        l0 = firing_counts.sum(-1).to(x.dtype) / n_tokens
        ctx.save_for_backward(x, w_dec, scales, *nonzeros.by_element)
        ctx.mark_non_differentiable(l0, firing_counts)
        ctx.set_materialize_grads(False)
        return output, l1, l0, firing_counts

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator hides the parameter's name
        ctx: Any, *grads: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Gradients of `output` and `l1` to the weights. Either may be missing."""
        x, w_dec, scales, *nonzeros = ctx.saved_tensors
        n_saes, _, d_model = w_dec.shape
        n_tokens = x.shape[0]
        grad_output, grad_l1 = grads[:2]
        grad_output = x.new_zeros(n_saes, n_tokens, d_model) if grad_output is None else grad_output.contiguous()
        grad_latent = x.new_zeros(n_saes) if grad_l1 is None else grad_l1 / n_tokens
        weights = engine_for(x).gradients(
            Nonzeros(*nonzeros),
            x=x,
            scales=scales,
            w_dec=w_dec.detach().reshape(-1, d_model),
            grad_output=grad_output,
            grad_latent=grad_latent,
        )
        grad_b_dec = grad_output.sum(1)
        return (
            None,
            weights.w_enc.view_as(w_dec),
            weights.b_enc.view(n_saes, -1),
            weights.w_dec.view_as(w_dec),
            grad_b_dec,
            None,
            None,
        )
