"""The KL term and its gradient on a CPU in float32 or bfloat16: products by torch, the softmax by compiled kernels.

For each row of logits torch makes three passes with two exponentials over memory; here a row is in the first-level
cache and has one exponential. Import it only where it is used: it loads numba.
"""

import math
from typing import Any, no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Float
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from torch import Tensor

from trainer.parallel import even_bounds, over_ranges

CHUNK_NUMBERS = 2**20
"""Logits held at a time: as many as the products need to be fast."""
LOG2_E = np.float32(1.4426950408889634)
LN_2_HIGH, LN_2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
"""ln 2 in two parts; a whole number up to 128 times the first is exact."""
SMALLEST = np.float32(-75.0)
"""Its exponential, over the size of a vocabulary, is still a normal number: others take a hundred times as long."""
ONE = np.float32(1.0)
ALL_BUT_SIGN = np.int32(0x7FFFFFFF)
REORDERED = {"contract", "reassoc", "nsz"}
"""For sums, whose order is then settled when they are compiled."""


@intrinsic
def _as_float(_: Any, bits: Any) -> Any:
    """The float32 with these 32 bits."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), code


@no_type_check
def _compiled(flags):
    """Compile on first use, with a cache on disk where one can be written."""

    @no_type_check
    def decorate(kernel):
        options = {"nogil": True, "error_model": "numpy", "fastmath": flags}
        try:
            return numba.njit(cache=True, **options)(kernel)
        except RuntimeError:  # numba found no folder to write its cache to
            return numba.njit(**options)(kernel)

    return decorate


@_compiled(REORDERED)
@no_type_check
def _largest(numbers):  # pragma: no cover - compiled
    """As integers of the same order, since a maximum of floats is not vectorised. NaN is above or below all others."""
    bits = numbers.view(np.int32)
    best = np.int32(-(2**31))
    for i in range(bits.shape[0]):
        best = max(best, bits[i] ^ ((bits[i] >> np.int32(31)) & ALL_BUT_SIGN))
    return _as_float(np.int32(best ^ ((best >> np.int32(31)) & ALL_BUT_SIGN)))


@_compiled(REORDERED)
@no_type_check
def _dot_shifted(weights, numbers, shift):  # pragma: no cover - compiled
    total = np.float32(0.0)
    for i in range(numbers.shape[0]):
        total += weights[i] * (numbers[i] - shift)
    return total


@_compiled(REORDERED)
@no_type_check
def _sum(numbers):  # pragma: no cover - compiled
    total = np.float32(0.0)
    for i in range(numbers.shape[0]):
        total += numbers[i]
    return total


@_compiled({"contract"})
@no_type_check
def _exp_shifted(numbers, shift):  # pragma: no cover - compiled
    """exp(number - shift) in place, to 1e-7 of itself, for numbers up to `shift` (Cephes' polynomial)."""
    for i in range(numbers.shape[0]):
        number = max(numbers[i] - shift, SMALLEST)
        whole = np.rint(number * LOG2_E)
        rest = number - whole * LN_2_HIGH
        rest = rest - whole * LN_2_LOW
        series = np.float32(1.9875691500e-4)
        series = series * rest + np.float32(1.3981999507e-3)
        series = series * rest + np.float32(8.3334519073e-3)
        series = series * rest + np.float32(4.1665795894e-2)
        series = series * rest + np.float32(1.6666665459e-1)
        series = series * rest + np.float32(5.0000001201e-1)
        series = series * (rest * rest) + rest + ONE
        numbers[i] = series * _as_float((np.int32(whole) + np.int32(127)) << np.int32(23))


@_compiled({"contract"})
@no_type_check
def _scale_and_subtract(numbers, scale, others):  # pragma: no cover - compiled
    for i in range(numbers.shape[0]):
        numbers[i] = numbers[i] * scale - others[i]


@_compiled({"contract"})
@no_type_check
def cross_entropies(logits, clean_p, out, start, stop):  # pragma: no cover - compiled
    """For rows `start:stop`: out = -sum p_clean log softmax(logits); logits become softmax(logits) - p_clean."""
    for row in range(start, stop):
        numbers, p = logits[row], clean_p[row]
        largest = _largest(numbers)
        mean = _dot_shifted(p, numbers, largest)
        _exp_shifted(numbers, largest)
        total = _sum(numbers)
        _scale_and_subtract(numbers, ONE / total, p)
        out[row] = math.log(total) - mean


def kl_and_gradient(
    *,
    clean: Float[Tensor, "tokens d_model"],
    sae: Float[Tensor, "n_saes tokens d_model"],
    weight: Float[Tensor, "vocab d_model"],
    bias: Float[Tensor, " vocab"] | None,
    gradient: Float[Tensor, "n_saes tokens d_model"] | None,
) -> Float[Tensor, " n_saes"]:
    """Sum over tokens of KL(clean || SAE), of the logits that two normalised final streams give. Inputs are contiguous.

    Into `gradient`, where there is one, goes that of the sum to `sae`.
    """
    n_saes, n_tokens, _ = sae.shape
    chunk = max(1, CHUNK_NUMBERS // weight.shape[0])
    totals = torch.zeros(n_saes, dtype=torch.float64)
    buffer, entropies = torch.empty(chunk, weight.shape[0]), torch.empty(chunk)
    products = buffer if sae.dtype == torch.float32 else torch.empty_like(buffer, dtype=sae.dtype)
    for start in range(0, n_tokens, chunk):
        here = slice(start, min(start + chunk, n_tokens))
        clean_log_p = torch.nn.functional.linear(clean[here], weight, bias).float().log_softmax(-1)
        clean_p = clean_log_p.exp()
        totals += clean_log_p.mul_(clean_p).sum(-1).double().sum()
        n_rows = len(clean_p)
        logits, rounded, entropy = buffer[:n_rows], products[:n_rows], entropies[:n_rows]
        for index in range(n_saes):
            torch.mm(sae[index, here], weight.T, out=rounded)
            if bias is not None:
                rounded += bias
            if products is not buffer:
                logits.copy_(rounded)
            over_ranges(cross_entropies, tuple(t.numpy() for t in (logits, clean_p, entropy)), even_bounds(n_rows))
            totals[index] += entropy.double().sum()
            if gradient is not None:
                torch.mm(logits.to(sae.dtype), weight, out=gradient[index, here])
    return totals.float()
