"""What blocks of every family are made of: weights without gradients, norms, products, fused attention.

`Conversion` takes weights out of transformers' modules; the functions run them. Families are in their own files.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

HALF_DTYPES = (torch.bfloat16, torch.float16)


class Linear(NamedTuple):
    weight: Float[Tensor, "d_out d_in"]
    bias: Float[Tensor, " d_out"] | None

    def __call__(self, inputs: Float[Tensor, "batch pos d_in"]) -> Float[Tensor, "batch pos d_out"]:
        return functional.linear(inputs, self.weight, self.bias)


class Norm(NamedTuple):
    """LayerNorm, or RMSNorm. Computed in the residual stream's precision, handed on in that of the matrices."""

    weight: Float[Tensor, " d_model"]
    bias: Float[Tensor, " d_model"] | None
    epsilon: float
    removes_mean: bool
    to: torch.dtype

    def __call__(self, residual: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        shape = self.weight.shape
        if self.removes_mean:
            normed = functional.layer_norm(residual, shape, self.weight, self.bias, self.epsilon)
        else:
            normed = functional.rms_norm(residual, shape, self.weight, self.epsilon)
        return normed.to(self.to)


class Conversion:
    """Takes weights to a device and a precision, and centres those that write into the residual stream if asked.

    Centring subtracts from each vector that is added to the stream its mean over `d_model` (Braun et al. 2024 use a
    host model processed like this). LayerNorm removes that mean anyway, so the logits stay what they were.
    """

    def __init__(self, *, device: torch.device, dtype: torch.dtype, center: bool) -> None:
        self.device = device
        self.dtype = dtype
        self.center = center
        self.stream_dtype = torch.float32 if dtype in HALF_DTYPES else dtype
        """Under half precision the residual stream stays float32, as it does under autocast."""

    def _take(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        return tensor.detach().to(device=self.device, dtype=dtype).contiguous()

    def reading(self, weight: Float[Tensor, "d_out d_in"], bias: Float[Tensor, " d_out"] | None) -> Linear:
        """A matrix that does not write into the residual stream."""
        return Linear(self._take(weight, self.dtype), None if bias is None else self._take(bias, self.dtype))

    def writing(self, weight: Float[Tensor, "d_model d_in"], bias: Float[Tensor, " d_model"] | None) -> Linear:
        """A matrix whose output is added to the residual stream."""
        if self.center:
            weight = without_mean(weight, dim=0)
            bias = None if bias is None else without_mean(bias, dim=0)
        return self.reading(weight, bias)

    def table(self, weight: Float[Tensor, "n_entries d_model"]) -> Float[Tensor, "n_entries d_model"]:
        """An embedding: each row is written into the residual stream."""
        return self._take(without_mean(weight, dim=-1) if self.center else weight, self.dtype)

    def unembedding(self, weight: Float[Tensor, "vocab d_model"], bias: Float[Tensor, " vocab"] | None) -> Linear:
        """The last matrix. In half precision without its mean over the vocabulary.

        That shifts all logits of a token by one number, which no softmax sees. GPT-2's logits lie around -100, where
        bfloat16 has steps of 0.5; shifted they lie around 0, where its steps are far finer.
        """
        if self.dtype in HALF_DTYPES:
            weight = without_mean(weight, dim=0)
            bias = None if bias is None else without_mean(bias, dim=0)
        return self.reading(weight, bias)

    def layer_norm(self, module: nn.LayerNorm) -> Norm:
        weight = self._take(module.weight, self.stream_dtype)
        return Norm(weight, self._take(module.bias, self.stream_dtype), module.eps, removes_mean=True, to=self.dtype)

    def rms_norm(self, weight: Float[Tensor, " d_model"], epsilon: float) -> Norm:
        return Norm(self._take(weight, self.stream_dtype), None, epsilon, removes_mean=False, to=self.dtype)


def without_mean(tensor: Tensor, *, dim: int) -> Tensor:
    """`tensor` minus its mean along `dim`, computed in float64."""
    exact = tensor.detach().double()
    return (exact - exact.mean(dim, keepdim=True)).to(tensor.dtype)


def causal_attention(
    query: Float[Tensor, "batch heads pos d_head"],
    key: Float[Tensor, "batch kv_heads pos d_head"],
    value: Float[Tensor, "batch kv_heads pos d_head"],
    *,
    scale: float,
    mask: Float[Tensor, "pos pos"] | None = None,
) -> Float[Tensor, "batch pos heads_d_head"]:
    """Each position reads itself and those before it; with `mask` (added to the scores) that alone says what is read.

    Without a mask none is ever built. Fewer `kv_heads` than `heads`: groups of heads share one.
    """
    if query.device.type == "cpu" and query.dtype in HALF_DTYPES and query.requires_grad:
        # the CPU's backward kernel takes four times as long in half precision as in full
        full = (each.float() for each in (query, key, value))
        return causal_attention(*full, scale=scale, mask=None if mask is None else mask.float()).to(query.dtype)
    shared = key.shape[1] != query.shape[1]
    if shared and query.device.type != "cpu" and query.dtype not in HALF_DTYPES:
        # the kernel that serves full precision on a GPU cannot share heads; without this all scores would be stored
        n_groups = query.shape[1] // key.shape[1]
        key, value, shared = key.repeat_interleave(n_groups, 1), value.repeat_interleave(n_groups, 1), False
    read = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=shared
    )
    return rearrange(read, "batch heads pos d_head -> batch pos (heads d_head)")


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """The activation function transformers calls `name`, in one pass where PyTorch has it in one."""
    match name:
        case "gelu_new" | "gelu_pytorch_tanh":
            return _gelu_tanh
        case "gelu":
            return functional.gelu
        case "silu" | "swish":
            return functional.silu
        case "relu":
            return functional.relu
        case _:
            from transformers.activations import ACT2FN

            return ACT2FN[name]


def _gelu_tanh(inputs: Tensor) -> Tensor:
    return functional.gelu(inputs, approximate="tanh")
