"""The kernels of the sparse path on a GPU, in Triton. Numbers and pointers only; `sparse_triton.py` is the way in.

They were never run on a GPU: none was at hand. Tests run them under Triton's interpreter, which checks what they
compute and where they write, not how fast they are or what a compiler makes of them.

No sum depends on the order in which programs run: each number is added up by one program, in a fixed order.
"""

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def _tile(
    x, w_enc, b_enc, first_element, n_elements, first_token, n_tokens, d_model,
    ELEMENTS: tl.constexpr, TOKENS: tl.constexpr, WIDTH: tl.constexpr, SUMS: tl.constexpr, PRECISION: tl.constexpr,
    WIDEN: tl.constexpr,
):  # fmt: skip # pragma: no cover - compiled
    """Pre-activations of a tile, and which of them are positive or not a number.

    `WIDEN` multiplies the same rounded factors as sums are added: the interpreter's product knows no bfloat16.
    """
    elements = first_element + tl.arange(0, ELEMENTS)
    tokens = first_token + tl.arange(0, TOKENS)
    products = tl.zeros([ELEMENTS, TOKENS], dtype=SUMS)
    for start in range(0, d_model, WIDTH):
        columns = start + tl.arange(0, WIDTH)
        inside = (elements < n_elements)[:, None] & (columns < d_model)[None, :]
        rows = tl.load(w_enc + elements.to(tl.int64)[:, None] * d_model + columns[None, :], mask=inside, other=0.0)
        inside = (tokens < n_tokens)[None, :] & (columns < d_model)[:, None]
        inputs = tl.load(x + tokens.to(tl.int64)[None, :] * d_model + columns[:, None], mask=inside, other=0.0)
        rows = rows.to(inputs.dtype)
        if WIDEN:
            rows, inputs = rows.to(SUMS), inputs.to(SUMS)
        products = tl.dot(rows, inputs, products, input_precision=PRECISION, out_dtype=SUMS)
    values = products + tl.load(b_enc + elements, mask=elements < n_elements, other=0.0)[:, None]
    inside = (elements < n_elements)[:, None] & (tokens < n_tokens)[None, :]
    return values, inside & ((values <= 0.0) == 0)


@triton.jit
@no_type_check
def count(
    x, w_enc, b_enc, element_counts, token_counts, keys, slots, n_elements, n_tokens, d_model,
    ELEMENTS: tl.constexpr, TOKENS: tl.constexpr, WIDTH: tl.constexpr, SUMS: tl.constexpr, PRECISION: tl.constexpr,
    WIDEN: tl.constexpr, SLOTS: tl.constexpr,
):  # fmt: skip # pragma: no cover - compiled
    """One tile of the encoder product of one SAE: how many of its entries are positive, by element and by token.

    The entries themselves go into the tile's slots, if there are not more of them. A key holds an entry's element and
    token in the tile, and its place among those of the same element and of the same token; seven bits each.
    """
    n_element_tiles, n_token_tiles = tl.cdiv(n_elements, ELEMENTS), tl.cdiv(n_tokens, TOKENS)
    tile = tl.program_id(0)
    element_tile, token_tile = tile // n_token_tiles, tile % n_token_tiles
    values, positive = _tile(
        x, w_enc, b_enc, element_tile * ELEMENTS, n_elements, token_tile * TOKENS, n_tokens, d_model,
        ELEMENTS, TOKENS, WIDTH, SUMS, PRECISION, WIDEN,
    )  # fmt: skip
    ones = positive.to(tl.int32)
    by_element, by_token = tl.sum(ones, 1), tl.sum(ones, 0)
    in_element, in_token = tl.arange(0, ELEMENTS), tl.arange(0, TOKENS)
    elements, tokens = element_tile * ELEMENTS + in_element, token_tile * TOKENS + in_token
    tl.store(element_counts + elements * n_token_tiles + token_tile, by_element, mask=elements < n_elements)
    tl.store(token_counts + tokens * n_element_tiles + element_tile, by_token, mask=tokens < n_tokens)
    total = tl.sum(by_element, 0)
    if (total > 0) & (total <= SLOTS):
        rank_in_element, rank_in_token = tl.cumsum(ones, 1) - 1, tl.cumsum(ones, 0) - 1
        at = (tl.cumsum(by_element, 0) - by_element)[:, None] + rank_in_element
        key = (in_element[:, None] << 21) | (in_token[None, :] << 14) | (rank_in_element << 7) | rank_in_token
        first = tile.to(tl.int64) * SLOTS
        tl.store(keys + first + at, key, mask=positive)
        tl.store(slots + first + at, values, mask=positive)


@triton.jit
@no_type_check
def _write(
    list_tokens, list_values, list_elements, list_token_values, at_element, at_token, elements, tokens, values, entries,
    room,
):  # fmt: skip # pragma: no cover - compiled
    """Write entries into both lists, as far as there is room."""
    tl.store(list_tokens + at_element, tokens, mask=entries & (at_element < room))
    tl.store(list_values + at_element, values, mask=entries & (at_element < room))
    tl.store(list_elements + at_token, elements, mask=entries & (at_token < room))
    tl.store(list_token_values + at_token, values, mask=entries & (at_token < room))


@triton.jit
@no_type_check
def place(
    x, w_enc, b_enc, element_counts, element_starts, token_starts, keys, slots,
    list_tokens, list_values, list_elements, list_token_values, room, n_elements, n_tokens, d_model,
    ELEMENTS: tl.constexpr, TOKENS: tl.constexpr, WIDTH: tl.constexpr, SUMS: tl.constexpr, PRECISION: tl.constexpr,
    WIDEN: tl.constexpr, SLOTS: tl.constexpr,
):  # fmt: skip # pragma: no cover - compiled
    """Put the entries of one tile where they belong in the list by element and in the list by token.

    A tile with more entries than slots computes its product again. Nothing is written beyond `room`.
    """
    n_element_tiles, n_token_tiles = tl.cdiv(n_elements, ELEMENTS), tl.cdiv(n_tokens, TOKENS)
    tile = tl.program_id(0)
    element_tile, token_tile = tile // n_token_tiles, tile % n_token_tiles
    elements = element_tile * ELEMENTS + tl.arange(0, ELEMENTS)
    counts = tl.load(element_counts + elements * n_token_tiles + token_tile, mask=elements < n_elements, other=0)
    total = tl.sum(counts, 0)
    if (total > 0) & (total <= SLOTS):
        slot = tl.arange(0, SLOTS)
        first, entries = tile.to(tl.int64) * SLOTS, slot < total
        key = tl.load(keys + first + slot, mask=entries, other=0)
        values = tl.load(slots + first + slot, mask=entries, other=0.0)
        of_element = element_tile * ELEMENTS + (key >> 21)
        of_token = token_tile * TOKENS + ((key >> 14) & 127)
        starts = tl.load(element_starts + of_element * n_token_tiles + token_tile, mask=entries, other=0)
        at_element = starts + ((key >> 7) & 127)
        starts = tl.load(token_starts + of_token * n_element_tiles + element_tile, mask=entries, other=0)
        at_token = starts + (key & 127)
        _write(
            list_tokens, list_values, list_elements, list_token_values, at_element, at_token, of_element, of_token,
            values, entries, room,
        )  # fmt: skip
    if total > SLOTS:
        values, positive = _tile(
            x, w_enc, b_enc, element_tile * ELEMENTS, n_elements, token_tile * TOKENS, n_tokens, d_model,
            ELEMENTS, TOKENS, WIDTH, SUMS, PRECISION, WIDEN,
        )  # fmt: skip
        ones = positive.to(tl.int32)
        tokens = token_tile * TOKENS + tl.arange(0, TOKENS)
        starts = tl.load(element_starts + elements * n_token_tiles + token_tile, mask=elements < n_elements, other=0)
        at_element = starts[:, None] + tl.cumsum(ones, 1) - 1
        starts = tl.load(token_starts + tokens * n_element_tiles + element_tile, mask=tokens < n_tokens, other=0)
        at_token = starts[None, :] + tl.cumsum(ones, 0) - 1
        nothing = tl.zeros([ELEMENTS, TOKENS], dtype=tl.int32)
        _write(
            list_tokens, list_values, list_elements, list_token_values, at_element, at_token,
            elements[:, None] + nothing, tokens[None, :] + nothing, values, positive, room,
        )  # fmt: skip


@triton.jit
@no_type_check
def add_elements(
    elements, values, offsets, scales, w_dec, output, d_sae, n_tokens, d_model,
    ENTRIES: tl.constexpr, WIDTH: tl.constexpr, SUMS: tl.constexpr,
):  # fmt: skip # pragma: no cover - compiled
    """Add to some columns of one token's output of one SAE its latents times their dictionary elements."""
    row = tl.program_id(0).to(tl.int64)
    first_element = row // n_tokens * d_sae
    columns = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = columns < d_model
    start, stop = tl.load(offsets + row), tl.load(offsets + row + 1)
    total = tl.zeros([WIDTH], dtype=SUMS)
    for at in range(start, stop, ENTRIES):
        entries = at + tl.arange(0, ENTRIES)
        some = entries < stop
        of_element = first_element + tl.load(elements + entries, mask=some, other=0)
        latents = tl.load(values + entries, mask=some, other=0.0) * tl.load(scales + of_element, mask=some, other=0.0)
        rows = tl.load(
            w_dec + of_element[:, None] * d_model + columns[None, :], mask=some[:, None] & inside[None, :], other=0.0
        )
        total += tl.sum(latents[:, None] * rows, 0)
    where = output + row * d_model + columns
    tl.store(where, tl.load(where, mask=inside, other=0.0) + total, mask=inside)


@triton.jit
@no_type_check
def latent_gradients(
    tokens, offsets, scales, w_dec, grad_output, grad_latent, gradients, bias_gradients, d_sae, n_tokens, d_model,
    ENTRIES: tl.constexpr, WIDTH: tl.constexpr, SUMS: tl.constexpr,
):  # fmt: skip # pragma: no cover - compiled
    """Gradients of the positive latents of one element: the product of two dense matrices where there are entries."""
    element = tl.program_id(0).to(tl.int64)
    sae = element // d_sae
    scale, besides = tl.load(scales + element), tl.load(grad_latent + sae)
    start, stop = tl.load(offsets + element), tl.load(offsets + element + 1)
    total = tl.zeros([ENTRIES], dtype=SUMS)
    for at in range(start, stop, ENTRIES):
        entries = at + tl.arange(0, ENTRIES)
        some = entries < stop
        rows = sae * n_tokens + tl.load(tokens + entries, mask=some, other=0)
        products = tl.zeros([ENTRIES], dtype=SUMS)
        for first in range(0, d_model, WIDTH):
            columns = first + tl.arange(0, WIDTH)
            inside = columns < d_model
            direction = tl.load(w_dec + element * d_model + columns, mask=inside, other=0.0)
            grads = tl.load(
                grad_output + rows[:, None] * d_model + columns[None, :],
                mask=some[:, None] & inside[None, :],
                other=0.0,
            )
            products += tl.sum(grads * direction[None, :], 1)
        found = tl.where(some, products * scale + besides, 0.0)
        tl.store(gradients + entries, found, mask=some)
        total += found
    tl.store(bias_gradients + element, tl.sum(total, 0))


@triton.jit
@no_type_check
def weight_gradients(
    tokens, values, gradients, offsets, scales, w_dec, x, grad_output, grad_w_enc, grad_w_dec, d_sae, n_tokens, d_model,
    ENTRIES: tl.constexpr, WIDTH: tl.constexpr, SUMS: tl.constexpr,
):  # fmt: skip # pragma: no cover - compiled
    """Gradients of one element's rows: sums over the tokens on which it fired; zero where it did not."""
    element = tl.program_id(0).to(tl.int64)
    sae = element // d_sae
    start, stop = tl.load(offsets + element), tl.load(offsets + element + 1)
    scale = tl.load(scales + element)
    parallel = tl.zeros([WIDTH], dtype=SUMS)
    for first in range(0, d_model, WIDTH):
        columns = first + tl.arange(0, WIDTH)
        inside = columns < d_model
        encoder, decoder = tl.zeros([WIDTH], dtype=SUMS), tl.zeros([WIDTH], dtype=SUMS)
        for at in range(start, stop, ENTRIES):
            entries = at + tl.arange(0, ENTRIES)
            some = entries < stop
            rows = tl.load(tokens + entries, mask=some, other=0).to(tl.int64)
            both = some[:, None] & inside[None, :]
            inputs = tl.load(x + rows[:, None] * d_model + columns[None, :], mask=both, other=0.0)
            rows += sae * n_tokens
            grads = tl.load(grad_output + rows[:, None] * d_model + columns[None, :], mask=both, other=0.0)
            encoder += tl.sum(inputs * tl.load(gradients + entries, mask=some, other=0.0)[:, None], 0)
            decoder += tl.sum(grads * tl.load(values + entries, mask=some, other=0.0)[:, None], 0)
        tl.store(grad_w_enc + element * d_model + columns, encoder, mask=inside)
        tl.store(grad_w_dec + element * d_model + columns, decoder, mask=inside)
        parallel += decoder * tl.load(w_dec + element * d_model + columns, mask=inside, other=0.0)
    # Through the division by the norm: what is parallel to the element goes, the rest is scaled.
    tl.debug_barrier()
    share = tl.sum(parallel, 0) * scale * scale
    for first in range(0, d_model, WIDTH):
        columns = first + tl.arange(0, WIDTH)
        where, inside = grad_w_dec + element * d_model + columns, columns < d_model
        direction = tl.load(w_dec + element * d_model + columns, mask=inside, other=0.0)
        tl.store(where, (tl.load(where, mask=inside, other=0.0) - share * direction) * scale, mask=inside)


@triton.jit
@no_type_check
def sums(values, offsets, out, ENTRIES: tl.constexpr, SUMS: tl.constexpr):  # pragma: no cover - compiled
    """Sum of one element's latents."""
    element = tl.program_id(0)
    start, stop = tl.load(offsets + element), tl.load(offsets + element + 1)
    total = tl.zeros([ENTRIES], dtype=SUMS)
    for at in range(start, stop, ENTRIES):
        entries = at + tl.arange(0, ENTRIES)
        total += tl.load(values + entries, mask=entries < stop, other=0.0)
    tl.store(out + element, tl.sum(total, 0))
