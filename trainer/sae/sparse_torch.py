"""The sparse path in torch operations alone: for any device and precision, and for a CPU without numba.

The same functions as `sparse_cpu.py`. Sums over non-zeros are `embedding_bag`s, which read no array twice and add
in a fixed order.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from trainer.sae.nonzeros import Gradients, Nonzeros, Room

CHUNK_NUMBERS = {"cpu": 2**18}
"""Pre-activations computed at a time. On a CPU they stay in its cache; elsewhere each chunk waits for the device."""
CHUNK_NUMBERS_ELSEWHERE = 2**26


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
    chunk = CHUNK_NUMBERS.get(x.device.type, CHUNK_NUMBERS_ELSEWHERE)
    n_rows = max(64, chunk // max(1, x.shape[0]))
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    x_t = x.T.to(compute_dtype)
    for rows, bias in zip(w_enc.split(n_rows), b_enc.split(n_rows), strict=True):
        pre = torch.mm(rows.to(compute_dtype), x_t).to(bias.dtype).add_(bias[:, None])
        positive = torch.logical_not(pre <= 0)  # NaN counts as positive, so that it is seen
        found.append((positive.nonzero()[:, 1], pre[positive], positive.sum(1)))
    tokens, values, counts = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Nonzeros(tokens, values, functional.pad(counts.cumsum(0), (1, 0)))


def sums(nonzeros: Nonzeros, *, n_saes: int) -> Float[Tensor, " n_saes"]:
    """Sum of the latents of each SAE."""
    ones = nonzeros.values.new_ones(1, 1)
    by_element = _bags(ones, torch.zeros_like(nonzeros.tokens), nonzeros.values, nonzeros.offsets)
    return by_element.view(n_saes, -1).sum(-1)


def add_elements(
    nonzeros: Nonzeros,
    *,
    scales: Float[Tensor, " elements"],
    w_dec: Float[Tensor, "elements d_model"],
    output: Float[Tensor, "n_saes tokens d_model"],
) -> None:
    """Add every latent times its dictionary element (`scales * w_dec`) to `output`, in place."""
    elements, output_rows = _coordinates(nonzeros, n_saes=output.shape[0], n_tokens=output.shape[1])
    by_output_row = output_rows.argsort(stable=True)
    counts = output_rows.bincount(minlength=output.shape[0] * output.shape[1])
    offsets = functional.pad(counts.cumsum(0), (1, 0))
    values = nonzeros.values * scales[elements]
    output += _bags(w_dec, elements[by_output_row], values[by_output_row], offsets).view_as(output)


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
    n_saes, n_tokens = grad_output.shape[:2]
    elements, output_rows = _coordinates(nonzeros, n_saes=n_saes, n_tokens=n_tokens)
    flat_grad = grad_output.reshape(-1, grad_output.shape[2])
    latents = _row_products(flat_grad, output_rows, w_dec, elements)
    latents = latents * scales[elements] + grad_latent[output_rows // n_tokens]
    dictionary = _bags(flat_grad, output_rows, nonzeros.values, nonzeros.offsets)
    # Through the division by the norm: what is parallel to the element goes, the rest is scaled.
    parallel = (dictionary * w_dec).sum(-1, keepdim=True) * scales[:, None].square()
    return Gradients(
        w_enc=_bags(x, nonzeros.tokens, latents, nonzeros.offsets),
        b_enc=_bags(x.new_ones(1, 1), torch.zeros_like(nonzeros.tokens), latents, nonzeros.offsets)[:, 0],
        w_dec=(dictionary - parallel * w_dec) * scales[:, None],
    )


def _coordinates(
    nonzeros: Nonzeros, *, n_saes: int, n_tokens: int
) -> tuple[Int[Tensor, " nonzeros"], Int[Tensor, " nonzeros"]]:
    """Element of each non-zero, and its row among the outputs of all SAEs."""
    counts = nonzeros.offsets.diff()
    elements = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    return elements, elements // (len(counts) // n_saes) * n_tokens + nonzeros.tokens


def _bags(
    rows: Float[Tensor, "n_rows width"],
    indices: Int[Tensor, " nonzeros"],
    weights: Float[Tensor, " nonzeros"],
    offsets: Int[Tensor, " bags_and_one"],
) -> Float[Tensor, "bags width"]:
    """For each bag of consecutive indices, the weighted sum of the rows they name."""
    return functional.embedding_bag(
        indices, rows, offsets, mode="sum", per_sample_weights=weights, include_last_offset=True
    )


def _row_products(
    a: Float[Tensor, "a_rows width"],
    a_indices: Int[Tensor, " nonzeros"],
    b: Float[Tensor, "b_rows width"],
    b_indices: Int[Tensor, " nonzeros"],
) -> Float[Tensor, " nonzeros"]:
    """Dot product of one row of `a` and one of `b` per non-zero, a chunk at a time."""
    chunk = max(1, CHUNK_NUMBERS.get(a.device.type, CHUNK_NUMBERS_ELSEWHERE) // a.shape[1])
    pairs = zip(a_indices.split(chunk), b_indices.split(chunk), strict=True)
    return torch.cat([(a[some_a] * b[some_b]).sum(-1) for some_a, some_b in pairs])
