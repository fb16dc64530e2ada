"""Matrix products of a model whose weights may be float32, bfloat16 or 8-bit.

A step is written once: which kernel a product takes is decided when the step is compiled, by the
type of its weights.
"""

from typing import Any, NamedTuple

from numba.extending import overload

from server.kernels.linear_float import linear_float
from server.kernels.linear_int8 import linear_int8, quantize_row


class FloatMatrix(NamedTuple):
    """One matrix of each layer, packed by pack.pack_rows."""

    codes: Any  # [L, blocks, K, 16] float32 or bfloat16 bits


class Int8Matrix(NamedTuple):
    """One matrix of each layer, quantised by pack.pack_int8."""

    codes: Any  # [L, blocks, K / 4, 16, 4] uint8, weight / scale + 128
    scales: Any  # [L, blocks, K / 32, 16] float16 bits


class Activations(NamedTuple):
    """Inputs of matrix products in several slots; the last three are used for 8-bit weights."""

    values: Any  # [slots, T, K] float32, K a multiple of 32, zero where there is no channel
    codes: Any  # [slots, T, K] int8
    scales: Any  # [slots, T, K / 32] float32
    sums: Any  # [slots, T, K / 32] int32, −128 times the sum of a group's codes


def linear(w, layer, inputs, slot, y, tokens, begin, end):
    """Row blocks begin … end − 1 of y[t] = W x[t] for t < tokens; in compiled code only."""
    raise NotImplementedError


def quantize(w, inputs, slot, begin, end):
    """Prepare tokens begin … end − 1 of a slot for products with w; in compiled code only."""
    raise NotImplementedError


@overload(linear)
def _linear(w, layer, inputs, slot, y, tokens, begin, end):
    if w.instance_class is Int8Matrix:

        def int8(w, layer, inputs, slot, y, tokens, begin, end):
            codes, scales, sums = inputs.codes[slot], inputs.scales[slot], inputs.sums[slot]
            linear_int8(w.codes[layer], w.scales[layer], codes, scales, sums, y, tokens, begin, end)

        return int8

    def floats(w, layer, inputs, slot, y, tokens, begin, end):
        linear_float(w.codes[layer], inputs.values[slot], y, tokens, begin, end)

    return floats


@overload(quantize)
def _quantize(w, inputs, slot, begin, end):
    if w.instance_class is Int8Matrix:

        def int8(w, inputs, slot, begin, end):
            for t in range(begin, end):
                quantize_row(
                    inputs.values[slot, t],
                    inputs.codes[slot, t],
                    inputs.scales[slot, t],
                    inputs.sums[slot, t],
                )

        return int8

    def nothing(w, inputs, slot, begin, end):
        pass

    return nothing
