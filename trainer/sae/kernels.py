"""The compiled kernels of the sparse path on a CPU. Numbers and arrays only; `sparse_cpu.py` is the way in.

LLVM vectorises no compaction, and guards each short loop over rows that might overlap with a run-time check. So the
inner operations are written as plain LLVM vectors, which every target lowers to what it has (SSE, AVX, NEON).
Arrays are C-contiguous, indices are into their flat memory and not checked. A kernel writes only to the range it is
given. All compiled code is in this file, because numba keeps results on disk by the file of the kernel alone.
"""

from collections.abc import Callable
from typing import Any, no_type_check

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

MASK_LANES = 32
"""Numbers that `positive_mask` looks at."""
BLOCK_LANES = 64
"""Numbers that `dot_block` and `add_scaled_block` take. Against 32 and 128 on AVX-512: fastest for d_model = 128."""
INT32 = ir.IntType(32)

Codegen = Callable[[Any, Any, Any, Any], Any]


def _vector(context: Any, builder: Any, array_type: Any, array: Any, index: Any, lanes: int) -> tuple[Any, int]:
    """Pointer to `lanes` numbers of an array from a flat index on, and the alignment that may be assumed."""
    data = context.make_array(array_type)(context, builder, array).data
    scalar = context.get_data_type(array_type.dtype)
    pointer = builder.bitcast(builder.gep(data, [index]), ir.VectorType(scalar, lanes).as_pointer())
    return pointer, array_type.dtype.bitwidth // 8


def _load(context: Any, builder: Any, array_type: Any, array: Any, index: Any, lanes: int) -> Any:
    """`lanes` numbers of an array from a flat index on. An array of uint16 holds bfloat16: they come as float32."""
    pointer, align = _vector(context, builder, array_type, array, index, lanes)
    numbers = builder.load(pointer, align=align)
    if array_type.dtype != types.uint16:
        return numbers
    wide = ir.VectorType(INT32, lanes)
    bits = builder.shl(builder.zext(numbers, wide), ir.Constant(wide, [16] * lanes))
    return builder.bitcast(bits, ir.VectorType(ir.FloatType(), lanes))


def _in_all_lanes(builder: Any, value: Any, lanes: int) -> Any:
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(INT32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(INT32, lanes), [0] * lanes))


@intrinsic
def positive_mask(_: Any, array: Any, index: Any, bias: Any) -> tuple[Any, Codegen]:
    """Bit i of the result says whether `array[index + i] + bias` is positive or not a number."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        numbers = _load(context, builder, signature.args[0], args[0], args[1], MASK_LANES)
        sums = builder.fadd(numbers, _in_all_lanes(builder, args[2], MASK_LANES))
        mask = builder.fcmp_unordered(">", sums, ir.Constant(sums.type, [0.0] * MASK_LANES))
        return builder.bitcast(mask, ir.IntType(MASK_LANES))

    return types.uint32(array, index, bias), code


@intrinsic
def number_at(_: Any, array: Any, index: Any) -> tuple[Any, Codegen]:
    """The number at a flat index. An array of uint16 holds bfloat16: it comes as float32."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        numbers = _load(context, builder, signature.args[0], args[0], args[1], 1)
        return builder.extract_element(numbers, ir.Constant(INT32, 0))

    return (types.float32 if array.dtype == types.uint16 else array.dtype)(array, index), code


@intrinsic
def lowest_bit(_: Any, mask: Any) -> tuple[Any, Codegen]:
    """Position of the lowest set bit. `mask` must not be 0."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        zeros = builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))
        return builder.zext(zeros, context.get_value_type(signature.return_type))

    return types.intp(mask), code


@intrinsic
def dot_block(_: Any, a: Any, a_index: Any, b: Any, b_index: Any) -> tuple[Any, Codegen]:
    """Sum of `a[a_index + i] * b[b_index + i]` over a block, halves first."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        a_pointer, align = _vector(context, builder, signature.args[0], args[0], args[1], BLOCK_LANES)
        b_pointer, _ = _vector(context, builder, signature.args[2], args[2], args[3], BLOCK_LANES)
        total = builder.fmul(builder.load(a_pointer, align=align), builder.load(b_pointer, align=align))
        half = BLOCK_LANES // 2
        while half:
            undefined, halves = ir.Constant(total.type, ir.Undefined), ir.VectorType(INT32, half)
            low = builder.shuffle_vector(total, undefined, ir.Constant(halves, list(range(half))))
            high = builder.shuffle_vector(total, undefined, ir.Constant(halves, list(range(half, 2 * half))))
            total = builder.fadd(low, high)
            half //= 2
        return builder.extract_element(total, ir.Constant(INT32, 0))

    return a.dtype(a, a_index, b, b_index), code


@intrinsic
def add_scaled_block(_: Any, to: Any, to_index: Any, a: Any, a_index: Any, scale: Any) -> tuple[Any, Codegen]:
    """Add `scale * a[a_index + i]` to `to[to_index + i]` over a block."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to_pointer, align = _vector(context, builder, signature.args[0], args[0], args[1], BLOCK_LANES)
        a_pointer, _ = _vector(context, builder, signature.args[2], args[2], args[3], BLOCK_LANES)
        scales = _in_all_lanes(builder, args[4], BLOCK_LANES)
        product = builder.fmul(builder.load(a_pointer, align=align), scales, flags=("contract",))
        builder.store(
            builder.fadd(builder.load(to_pointer, align=align), product, flags=("contract",)), to_pointer, align=align
        )
        return context.get_dummy_value()

    return types.void(to, to_index, a, a_index, scale), code


@no_type_check
def _compiled(kernel):
    """Compile on first use, with a cache on disk where one can be written. Sums may not be reordered at run time."""
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    try:
        return numba.njit(cache=True, **options)(kernel)
    except RuntimeError:  # numba found no folder to write its cache to
        return numba.njit(**options)(kernel)


@_compiled
@no_type_check
def scan(pre, bias, tokens, values, counts, start, stop):  # pragma: no cover - compiled
    """Write tokens and values of the positive entries of rows `start:stop` from `start * n_tokens` on. How many.

    `pre` may hold bfloat16, as uint16.
    """
    n_tokens = pre.shape[1]
    whole = n_tokens // MASK_LANES * MASK_LANES
    first = start * n_tokens
    n = first
    for row in range(start, stop):
        before = n
        for block in range(0, whole, MASK_LANES):
            mask = positive_mask(pre, row * n_tokens + block, bias[row])
            while mask != 0:
                token = block + lowest_bit(mask)
                mask &= mask - np.uint32(1)
                tokens[n] = token
                values[n] = number_at(pre, row * n_tokens + token) + bias[row]
                n += 1
        for token in range(whole, n_tokens):
            value = number_at(pre, row * n_tokens + token) + bias[row]
            if not value <= 0:  # NaN counts as positive, so that it is seen
                tokens[n] = token
                values[n] = value
                n += 1
        counts[row] = n - before
    return n - first


@_compiled
@no_type_check
def add_elements(tokens, values, offsets, scales, w_dec, output, d_sae, start, stop):  # pragma: no cover - compiled
    """Add each non-zero latent times its dictionary element to `output`, columns `start:stop` only."""
    n_tokens, d_model = output.shape[1], output.shape[2]
    whole = start + (stop - start) // BLOCK_LANES * BLOCK_LANES
    for element in range(w_dec.shape[0]):
        row = element * d_model
        first_output = element // d_sae * n_tokens
        for n in range(offsets[element], offsets[element + 1]):
            value = values[n] * scales[element]
            out = (first_output + tokens[n]) * d_model
            for column in range(start, whole, BLOCK_LANES):
                add_scaled_block(output, out + column, w_dec, row + column, value)
            for column in range(whole, stop):
                output[element // d_sae, tokens[n], column] += value * w_dec[element, column]


@_compiled
@no_type_check
def _dot(a, a_row, b, b_row, length, zero):  # pragma: no cover - compiled
    """Product of row `a_row` of flat `a` and row `b_row` of flat `b`."""
    whole = length // BLOCK_LANES * BLOCK_LANES
    total = zero
    for column in range(0, whole, BLOCK_LANES):
        total += dot_block(a, a_row * length + column, b, b_row * length + column)
    for column in range(whole, length):
        total += a[a_row * length + column] * b[b_row * length + column]
    return total


@_compiled
@no_type_check
def _add_scaled(to, to_row, a, a_row, length, scale):  # pragma: no cover - compiled
    """Add `scale` times row `a_row` of flat `a` to row `to_row` of flat `to`."""
    whole = length // BLOCK_LANES * BLOCK_LANES
    for column in range(0, whole, BLOCK_LANES):
        add_scaled_block(to, to_row * length + column, a, a_row * length + column, scale)
    for column in range(whole, length):
        to[to_row * length + column] += scale * a[a_row * length + column]


@_compiled
@no_type_check
def weight_gradients(
    tokens, values, offsets, scales, w_dec, x, grad_output, grad_latent, d_sae, out, start, stop
):  # pragma: no cover - compiled
    """Gradients of elements `start:stop`: each is one pass over the tokens on which the element fired."""
    grad_w_enc, grad_b_enc, grad_w_dec = out
    d_model = w_dec.shape[0] // scales.shape[0]
    n_tokens = x.shape[0] // d_model
    zero = values.dtype.type(0)
    for element in range(start, stop):
        grad_w_enc[element * d_model : (element + 1) * d_model] = zero
        grad_w_dec[element * d_model : (element + 1) * d_model] = zero
        grad_b_enc[element] = zero
        if offsets[element] == offsets[element + 1]:
            continue
        sae, scale = element // d_sae, scales[element]
        total = zero
        for n in range(offsets[element], offsets[element + 1]):
            out_row = sae * n_tokens + tokens[n]
            gradient = _dot(grad_output, out_row, w_dec, element, d_model, zero) * scale + grad_latent[sae]
            total += gradient
            _add_scaled(grad_w_dec, element, grad_output, out_row, d_model, values[n])
            _add_scaled(grad_w_enc, element, x, tokens[n], d_model, gradient)
        grad_b_enc[element] = total
        # Through the division by the norm: what is parallel to the element goes, the rest is scaled.
        parallel = _dot(grad_w_dec, element, w_dec, element, d_model, zero) * scale * scale
        _add_scaled(grad_w_dec, element, w_dec, element, d_model, -parallel)
        for column in range(element * d_model, (element + 1) * d_model):
            grad_w_dec[column] *= scale
