"""The sparse path on a GPU: the kernels of `triton_kernels.py`, one SAE of a bank after another. Import it there only.

The same functions as `sparse_cpu.py`. The encoder product is computed once, tile by tile; each tile keeps its positive
entries in slots of its own, and once all are counted they are put where they belong. The host reads nothing: how long
the lists are is guessed from the last time (`Room`). Tile sizes are guesses too (see `triton_kernels.py`).
"""

from typing import Any, NamedTuple

import torch
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor
from triton import knobs

from trainer.sae import triton_kernels as kernels
from trainer.sae.nonzeros import ByToken, Gradients, Nonzeros, Room


class Blocks(NamedTuple):
    """What one program works on at a time."""

    elements: int = 128
    """Of a tile of the encoder product; with seven bits for a place in it, at most 128."""
    tokens: int = 128
    width: int = 32
    """Columns of the product's factors."""
    slots: int = 512
    """Positive entries of a tile that are kept: one in 32. A tile with more is computed twice."""
    entries: int = 16
    columns: int = 256
    """Entries and columns of everything behind the product."""


BLOCKS = Blocks()


def _n_tiles(size: int, block: int) -> int:
    return -(-size // block)


def _sums(dtype: torch.dtype) -> Any:
    return tl.float64 if dtype == torch.float64 else tl.float32


class _Lists(NamedTuple):
    """Entries by element and by token, of all SAEs."""

    tokens: Int[Tensor, " room"]
    values: Float[Tensor, " room"]
    elements: Int[Tensor, " room"]
    token_values: Float[Tensor, " room"]


class _Compaction:
    """The scratch space for one SAE after the other."""

    def __init__(self, x: Tensor, *, n_elements: int, dtype: torch.dtype, room: int) -> None:
        self.x, self.n_elements = x, n_elements
        n_tokens, device = x.shape[0], x.device
        self.n_element_tiles = _n_tiles(n_elements, BLOCKS.elements)
        self.n_token_tiles = _n_tiles(n_tokens, BLOCKS.tokens)
        n_slots = self.n_element_tiles * self.n_token_tiles * BLOCKS.slots
        self.keys, self.slots = (torch.empty(n_slots, dtype=kind, device=device) for kind in (torch.int32, dtype))
        self.by_element = torch.empty(n_elements, self.n_token_tiles, dtype=torch.int32, device=device)
        self.by_token = torch.empty(n_tokens, self.n_element_tiles, dtype=torch.int32, device=device)
        kinds = (torch.int32, dtype, torch.int32, dtype)
        self.lists = _Lists(*(torch.empty(room, dtype=kind, device=device) for kind in kinds))
        self.options = {
            "ELEMENTS": BLOCKS.elements, "TOKENS": BLOCKS.tokens, "WIDTH": BLOCKS.width, "SUMS": _sums(dtype),
            "PRECISION": "tf32" if x.dtype == torch.float32 else "ieee",
            "WIDEN": knobs.runtime.interpret and x.dtype == torch.bfloat16, "SLOTS": BLOCKS.slots,
        }  # fmt: skip

    def add(
        self, w_enc: Tensor, b_enc: Tensor, first: Int[Tensor, ""]
    ) -> tuple[Int[Tensor, " elements"], Int[Tensor, " tokens"], Int[Tensor, ""]]:
        """Take up one SAE. Where the entries of its elements and tokens start in the lists, and where they end."""
        grid, shape = (self.n_element_tiles * self.n_token_tiles,), (self.n_elements, *self.x.shape)
        kernels.count[grid](
            self.x, w_enc, b_enc, self.by_element, self.by_token, self.keys, self.slots, *shape, **self.options
        )
        element_starts, end = _starts(self.by_element, first)
        token_starts, _ = _starts(self.by_token, first)
        kernels.place[grid](
            self.x, w_enc, b_enc, self.by_element, element_starts, token_starts, self.keys, self.slots, *self.lists,
            len(self.lists.tokens), *shape, **self.options,
        )  # fmt: skip
        return element_starts[:, 0], token_starts[:, 0], end


def _starts(counts: Int[Tensor, "rows tiles"], first: Int[Tensor, ""]) -> tuple[Int[Tensor, "rows tiles"], Tensor]:
    """Where the entries of each row and tile start in a list by row, and where they end."""
    ends = counts.view(-1).cumsum(0, dtype=torch.int64) + first
    return (ends - counts.view(-1)).view_as(counts), ends[-1]


def compact(
    x: Float[Tensor, "tokens d_model"],
    w_enc: Float[Tensor, "elements d_model"],
    b_enc: Float[Tensor, " elements"],
    *,
    n_saes: int,
    compute_dtype: torch.dtype,
    room: Room,
) -> Nonzeros:
    """Positive pre-activations of every element, as many as there is room for; all are counted."""
    n_elements = w_enc.shape[0] // n_saes
    work = _Compaction(x.to(compute_dtype), n_elements=n_elements, dtype=b_enc.dtype, room=room.n_entries)
    end = torch.zeros((), dtype=torch.int64, device=x.device)
    by_element, by_token = [], []
    for weights, biases in zip(w_enc.chunk(n_saes), b_enc.chunk(n_saes), strict=True):
        element_starts, token_starts, end = work.add(weights, biases, end)
        by_element.append(element_starts)
        by_token.append(token_starts)
    room.note(end)
    offsets, token_offsets = (torch.cat([*starts, end[None]]) for starts in (by_element, by_token))
    lists = work.lists
    return Nonzeros(
        lists.tokens, lists.values, offsets, by_token=ByToken(lists.elements, lists.token_values, token_offsets)
    )


def _within(offsets: Int[Tensor, " rows_and_one"], entries: Tensor) -> Int[Tensor, " rows_and_one"]:
    """Offsets that do not lead out of a list that was too short."""
    return offsets.clamp(max=len(entries))


def sums(nonzeros: Nonzeros, *, n_saes: int) -> Float[Tensor, " n_saes"]:
    """Sum of the latents of each SAE."""
    offsets = _within(nonzeros.offsets, nonzeros.values)
    n_elements = len(offsets) - 1
    out = torch.empty(n_elements, dtype=nonzeros.values.dtype, device=offsets.device)
    kernels.sums[(n_elements,)](nonzeros.values, offsets, out, ENTRIES=BLOCKS.entries, SUMS=_sums(out.dtype))
    return out.view(n_saes, -1).sum(-1)


def add_elements(
    nonzeros: Nonzeros,
    *,
    scales: Float[Tensor, " elements"],
    w_dec: Float[Tensor, "elements d_model"],
    output: Float[Tensor, "n_saes tokens d_model"],
) -> None:
    """Add every latent times its dictionary element (`scales * w_dec`) to `output`, in place."""
    assert nonzeros.by_token is not None
    elements, values, offsets = nonzeros.by_token
    n_saes, n_tokens, d_model = output.shape
    kernels.add_elements[(n_saes * n_tokens, _n_tiles(d_model, BLOCKS.columns))](
        elements, values, _within(offsets, values), scales, w_dec, output, w_dec.shape[0] // n_saes, n_tokens, d_model,
        ENTRIES=BLOCKS.entries, WIDTH=BLOCKS.columns, SUMS=_sums(values.dtype),
    )  # fmt: skip


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
    n_saes, n_tokens, d_model = grad_output.shape
    shape = (w_dec.shape[0] // n_saes, n_tokens, d_model)
    options = {"ENTRIES": BLOCKS.entries, "WIDTH": BLOCKS.columns, "SUMS": _sums(w_dec.dtype)}
    tokens, values, offsets = nonzeros.tokens, nonzeros.values, _within(nonzeros.offsets, nonzeros.values)
    result = Gradients(torch.empty_like(w_dec), torch.empty_like(scales), torch.empty_like(w_dec))
    latents = torch.empty_like(values)
    grid = (w_dec.shape[0],)
    kernels.latent_gradients[grid](
        tokens, offsets, scales, w_dec, grad_output, grad_latent, latents, result.b_enc, *shape, **options
    )
    kernels.weight_gradients[grid](
        tokens, values, latents, offsets, scales, w_dec, x, grad_output, result.w_enc, result.w_dec, *shape, **options
    )
    return result
