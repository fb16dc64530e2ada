"""How weights and their inputs are held: the types by which a product chooses its kernel."""

from typing import Any, NamedTuple


class FloatMatrix(NamedTuple):
    """A matrix of each layer, or of one, packed by pack.pack_rows."""

    codes: Any  # [L, blocks, K, 16] float32, or bits of bfloat16 (uint16) or float16 (int16)


class Int8Matrix(NamedTuple):
    """A matrix of each layer, or of one, quantised by quantize.quantize_int8."""

    codes: Any  # [L, blocks, K / 4, 16, 4] uint8, weight / scale + 128
    scales: Any  # [L, blocks, K / 32, 16] float16 bits


class Int4Matrix(NamedTuple):
    """A matrix of each layer, or of one, quantised by quantize.quantize_int4."""

    codes: Any  # [L, blocks, K / 8, 16, 4] uint8, two codes in a byte
    scales: Any  # [L, blocks, K / 32, 16] float16 bits


class Activations(NamedTuple):
    """Inputs of matrix products in several slots, or in one; quantised in the last three.

    K is a multiple of 32, and values are zero where there is no channel. Rows may be longer.
    """

    values: Any  # [slots, T, ≥ K] float32
    codes: Any  # [slots, T, ≥ K] int8
    scales: Any  # [slots, T, ≥ K / 32] float32
    sums: Any  # [slots, T, ≥ K / 32] int32, −128 times the sum of a group's codes
