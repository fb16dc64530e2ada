"""Quantising to 4 bits: the values of codes, and vector code for a group of 16 rows, a row a lane.

Limits between neighbouring values are compared in the same order of operations on every tier, so
that codes and sums have the same bits.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from server.kernels.jit import TIER, intrinsic
from server.kernels.simd import GROUP, LANES, call, const, constants, load, offset, pointer
from server.kernels.simd_half import as_half, half_bits

INT4_VALUES = (-127, -96, -74, -58, -44, -32, -20, -10, 0, 10, 21, 33, 46, 61, 79, 102)
"""What a 4-bit code stands for, in units of its scale.

Fitted by Lloyd's algorithm to groups with their best scales, half of them normally distributed and
half with slightly heavier tails; zero is kept exact. One side reaches further, and the sign of the
scale chooses which. The squared error of normal weights is 0.82 of what equal steps give.
"""

_VALUES = np.array(INT4_VALUES, dtype=np.float32)
LIMITS = (_VALUES[1:] + _VALUES[:-1]) / np.float32(2)
"""[15] float32: a number above LIMITS[i] has a code above i."""

# What the largest magnitude of a group, with its sign, is tried to become. Beside −127, which is
# rounding without a search, those that together come nearest to a fine search: to 0.7 % of the
# squared error of normal weights.
_TARGETS = (-140.0, -134.0, -127.0, -120.0, -100.0, 98.0, 104.0, 110.0)

_CODES = len(INT4_VALUES)
_BYTES = 4 * LANES
_F32, _I32, _I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_V16F32, _V16I32 = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)
_V16I16 = ir.VectorType(ir.IntType(16), LANES)
_V8F32, _V8I32 = ir.VectorType(_F32, 8), ir.VectorType(_I32, 8)

Nearest = Callable[[Any, Any], tuple[Any, Any]]
"""(builder, <16 x float>) → (nearest value <16 x float>, its code <16 x i32>)."""


def _nearest_portable(builder: Any, x: Any) -> tuple[Any, Any]:
    """One limit after the other."""
    value, code = constants(_V16F32, INT4_VALUES[0]), constants(_V16I32, 0)
    for i, limit in enumerate(LIMITS):
        is_above = builder.fcmp_ordered(">", x, constants(_V16F32, float(limit)))
        value = builder.select(is_above, constants(_V16F32, INT4_VALUES[i + 1]), value)
        code = builder.select(is_above, constants(_V16I32, i + 1), code)
    return value, code


def _table(numbers: Any) -> ir.Constant:
    """Eight numbers for an index that counts down from 0, of which only three bits are read."""
    numbers = [float(number) for number in numbers]
    return ir.Constant(_V8F32, [numbers[-i % 8 % len(numbers)] for i in range(8)])


def _nearest_of_8(builder: Any, x: Any) -> tuple[Any, Any]:
    """By halving: four comparisons, whose limits are looked up by what the ones before found.

    A comparison that holds is −1, so what is found of a code is its negative.
    """

    def is_above(limit: Any) -> Any:
        return builder.sext(builder.fcmp_ordered(">", x, limit), _V8I32)

    def look_up(numbers: Any, index: Any) -> Any:
        return call(builder, "llvm.x86.avx2.permps", _V8F32, _table(numbers), index)

    half = _CODES // 2
    upper = builder.fcmp_ordered(">", x, constants(_V8F32, float(LIMITS[half - 1])))
    index = builder.sext(upper, _V8I32)
    limit = builder.select(upper, *(constants(_V8F32, float(LIMITS[i])) for i in (11, 3)))
    index = builder.add(builder.add(index, index), is_above(limit))
    index = builder.add(builder.add(index, index), is_above(look_up(LIMITS[1::4], index)))
    index = builder.add(builder.add(index, index), is_above(look_up(LIMITS[::2], index)))
    low, high = (look_up(part, index) for part in (INT4_VALUES[:half], INT4_VALUES[half:]))
    return builder.select(upper, high, low), index


def _nearest_avx2(builder: Any, x: Any) -> tuple[Any, Any]:
    undefined = ir.Constant(_V16F32, ir.Undefined)
    found = []
    for first in (0, 8):
        places = ir.Constant(_V8I32, list(range(first, first + 8)))
        found.append(_nearest_of_8(builder, builder.shuffle_vector(x, undefined, places)))
    whole = ir.Constant(_V16I32, list(range(LANES)))
    (low, low_code), (high, high_code) = found
    negative = builder.shuffle_vector(low_code, high_code, whole)
    value = builder.shuffle_vector(low, high, whole)
    return value, builder.sub(constants(_V16I32, 0), negative)


_nearest: Nearest = _nearest_portable if TIER == "portable" else _nearest_avx2


def _inverse(builder: Any, largest: Any, scale: Any) -> Any:
    """What to multiply a normalised weight with to have it in units of the scale."""
    zero = constants(_V16F32, 0.0)
    is_some = builder.fcmp_unordered("!=", scale, zero)
    return builder.select(is_some, builder.fdiv(largest, scale), zero)


def _sums_of_nearest(builder: Any, x_at: Any, inverse: Any) -> tuple[Any, Any]:
    """With the value nearest to x · inverse: the sums over 32 of value · x and of value²."""
    zero = constants(_V16F32, 0.0)
    sums = [cgutils.alloca_once_value(builder, zero) for _ in range(2)]
    for total in sums:
        builder.store(zero, total)  # of an earlier target
    with cgutils.for_range(builder, const(GROUP), intp=_I64) as loop:
        x = load(builder, offset(builder, x_at, loop.index, _BYTES), _V16F32, 4)
        value, _ = _nearest(builder, builder.fmul(x, inverse))
        for total, factor in zip(sums, (x, value), strict=True):
            term = builder.fmul(value, factor)
            builder.store(builder.fadd(builder.load(total), term), total)
    products, squares = (builder.load(total) for total in sums)
    return products, squares


def _search(builder: Any, x_at: Any, largest: Any) -> Any:
    """Of each lane of normalised x [32, 16] the scale of least squared error.

    Each target gives a scale and so codes; the best scale for these codes is known by least
    squares. All scales are float16 numbers when they are compared.
    """
    zero, two = constants(_V16F32, 0.0), constants(_V16F32, 2.0)
    scales = gains = zero
    for target in _TARGETS:
        first = as_half(builder, builder.fdiv(largest, constants(_V16F32, target)))
        inverse = _inverse(builder, largest, first)
        products, squares = _sums_of_nearest(builder, x_at, inverse)
        is_some = builder.fcmp_ordered(">", squares, zero)
        best = builder.select(is_some, builder.fdiv(products, squares), zero)
        scale = as_half(builder, builder.fmul(largest, best))
        ratio = builder.fdiv(scale, largest)
        # By how much the error is less than that of all zeros.
        gain = builder.fsub(builder.fmul(two, products), builder.fmul(ratio, squares))
        gain = builder.fmul(ratio, gain)
        is_better = builder.fcmp_ordered(">", gain, gains)
        gains = builder.select(is_better, gain, gains)
        scales = builder.select(is_better, scale, scales)
    return scales


def _normalize(builder: Any, x_at: Any, largest: Any) -> Any:
    """Divide x by the largest of its lane: sums cannot overflow, nor squares vanish.

    Returns the largest, 1 where all are zero.
    """
    is_some = builder.fcmp_unordered("!=", largest, constants(_V16F32, 0.0))
    largest = builder.select(is_some, largest, constants(_V16F32, 1.0))
    with cgutils.for_range(builder, const(GROUP), intp=_I64) as loop:
        at = offset(builder, x_at, loop.index, _BYTES)
        x = builder.fdiv(load(builder, at, _V16F32, 4), largest)
        builder.store(x, pointer(builder, at, _V16F32)).align = 4
    return largest


def _store_codes(builder: Any, x_at: Any, inverse: Any, words_at: Any) -> None:
    """The codes of x [32, 16] · inverse as words [4, 16] uint32.

    Byte j of the word of step s has the code of input 8s + j in its low half, that of 8s + 4 + j
    in its high half.
    """
    with cgutils.for_range(builder, const(GROUP // 8), intp=_I64) as loop:
        word = constants(_V16I32, 0)
        for j in range(8):
            place = builder.add(builder.mul(loop.index, const(8)), const(j))
            x = load(builder, offset(builder, x_at, place, _BYTES), _V16F32, 4)
            _, code = _nearest(builder, builder.fmul(x, inverse))
            shift = constants(_V16I32, 8 * (j % 4) + 4 * (j // 4))
            word = builder.or_(word, builder.shl(code, shift))
        target = pointer(builder, offset(builder, words_at, loop.index, _BYTES), _V16I32)
        builder.store(word, target).align = 4


@intrinsic
def quantize_int4_group(typing: Any, x_at: Any, largest_at: Any, scales_at: Any, words_at: Any):
    """(addresses) Quantise x [32, 16] float32, which is overwritten, a lane by itself.

    largest [16] float32: the value of largest magnitude of each lane, with its sign. Stores scales
    [16] uint16, bits of float16, and words [4, 16] uint32 of codes.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x_at, largest_at, scales_at, words_at = args
        largest = _normalize(builder, x_at, load(builder, largest_at, _V16F32, 4))
        scales = _search(builder, x_at, largest)
        halves = pointer(builder, scales_at, _V16I16)
        builder.store(half_bits(builder, scales), halves).align = 2
        _store_codes(builder, x_at, _inverse(builder, largest, scales), words_at)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), codegen
