"""The sparse path on a CPU: products by torch, what touches only non-zeros by the compiled kernels of `kernels.py`.

Import it only where it is used: it loads numba. Work is split over as many threads as torch would use, in ranges that
do not share a sum, so results do not depend on their number.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from trainer.parallel import even_bounds, over_ranges
from trainer.sae import kernels
from trainer.sae.nonzeros import Gradients, Nonzeros, Room

CHUNK_BYTES = 2**20
"""Pre-activations computed at a time: they are still in the second-level cache when they are scanned."""
MIN_CHUNK_ROWS = 256
"""Fewer make the product itself slow: with 16,384 tokens, 64 rows take twice as long as 256."""


def _bounds_of_equal_work(offsets: np.ndarray) -> list[int]:
    """One range of elements per thread, with about as many non-zeros each."""
    n_elements = len(offsets) - 1
    parts = len(even_bounds(n_elements)) - 1
    inner = np.searchsorted(offsets, offsets[-1] * np.arange(1, parts) // parts)
    return [0, *(int(each) for each in inner), n_elements]


class _Scanner:
    """Scans chunks of pre-activations into buffers of its own and collects what it finds."""

    def __init__(self, pre: Float[Tensor, "rows tokens"], dtype: torch.dtype) -> None:
        """`dtype`: of the latents, that of the biases."""
        self.pre = pre.view(torch.uint16).numpy() if pre.dtype == torch.bfloat16 else pre.numpy()
        self.tokens, self.values = np.empty(pre.numel(), np.int32), torch.empty(pre.numel(), dtype=dtype).numpy()
        self.found: list[tuple[np.ndarray, np.ndarray]] = []

    def scan(self, bias: np.ndarray, counts: np.ndarray) -> None:
        """Take up what is positive in the first `len(bias)` rows, and write how many entries of each row are."""
        n_tokens, bounds = self.pre.shape[1], even_bounds(len(bias))
        sizes = over_ranges(kernels.scan, (self.pre, bias, self.tokens, self.values, counts), bounds)
        for start, size in zip(bounds, sizes, strict=False):
            part = slice(start * n_tokens, start * n_tokens + size)
            self.found.append((self.tokens[part].copy(), self.values[part].copy()))


def compact(
    x: Float[Tensor, "tokens d_model"],
    w_enc: Float[Tensor, "elements d_model"],
    b_enc: Float[Tensor, " elements"],
    *,
    n_saes: int,
    compute_dtype: torch.dtype,
    room: Room,
) -> Nonzeros:
    """Positive pre-activations of every element, with their tokens. Holds one chunk of pre-activations at a time."""
    del n_saes, room  # all are taken as they come
    n_tokens, n_elements = x.shape[0], w_enc.shape[0]
    n_rows = min(n_elements, max(MIN_CHUNK_ROWS, CHUNK_BYTES // max(1, n_tokens * compute_dtype.itemsize)))
    pre, x_t = x.new_empty(n_rows, n_tokens, dtype=compute_dtype), x.T.to(compute_dtype).contiguous()
    offsets, bias, scanner = np.zeros(n_elements + 1, np.int64), b_enc.numpy(), _Scanner(pre, b_enc.dtype)
    for first in range(0, n_elements, n_rows):
        last = min(first + n_rows, n_elements)
        torch.mm(w_enc[first:last].to(compute_dtype), x_t, out=pre[: last - first])
        scanner.scan(bias[first:last], offsets[first + 1 : last + 1])
    np.cumsum(offsets, out=offsets)
    tokens, values = (np.concatenate(parts) for parts in zip(*scanner.found, strict=True))
    return Nonzeros(torch.from_numpy(tokens), torch.from_numpy(values), torch.from_numpy(offsets))


def sums(nonzeros: Nonzeros, *, n_saes: int) -> Float[Tensor, " n_saes"]:
    """Sum of the latents of each SAE."""
    ends = nonzeros.offsets[:: (len(nonzeros.offsets) - 1) // n_saes]
    return torch.stack([each.sum() for each in nonzeros.values.split(ends.diff().tolist())])


def add_elements(
    nonzeros: Nonzeros,
    *,
    scales: Float[Tensor, " elements"],
    w_dec: Float[Tensor, "elements d_model"],
    output: Float[Tensor, "n_saes tokens d_model"],
) -> None:
    """Add every latent times its dictionary element (`scales * w_dec`) to `output`, in place."""
    d_sae = w_dec.shape[0] // output.shape[0]
    arrays = (*(each.numpy() for each in nonzeros.by_element), scales.numpy(), w_dec.numpy(), output.numpy(), d_sae)
    over_ranges(kernels.add_elements, arrays, even_bounds(output.shape[2]))


def gradients(
    nonzeros: Nonzeros,
    *,
    x: Float[Tensor, "tokens d_model"],
    scales: Float[Tensor, " elements"],
    w_dec: Float[Tensor, "elements d_model"],
    grad_output: Float[Tensor, "n_saes tokens d_model"],
    grad_latent: Float[Tensor, " n_saes"],
) -> Gradients:
    """Gradients of the weights, given those of the output and what each latent receives besides."""
    result = Gradients(torch.empty_like(w_dec), torch.empty_like(scales), torch.empty_like(w_dec))
    arrays = (
        *(each.numpy() for each in (*nonzeros.by_element, scales)),
        *(each.reshape(-1).numpy() for each in (w_dec, x, grad_output)),
        grad_latent.numpy(),
        w_dec.shape[0] // grad_output.shape[0],
        tuple(each.reshape(-1).numpy() for each in result),
    )
    over_ranges(kernels.weight_gradients, arrays, _bounds_of_equal_work(nonzeros.offsets.numpy()))
    return result
