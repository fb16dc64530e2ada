"""Vector code that rounds float32 to float16, on every tier, and finds the largest of a group."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from server.kernels.jit import intrinsic
from server.kernels.simd import LANES, call, constants, load, offset, pointer

_F32, _I16, _I32, _I64 = ir.FloatType(), ir.IntType(16), ir.IntType(32), ir.IntType(64)
_V16F32, _V16I32 = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)
_V16I16 = ir.VectorType(_I16, LANES)

_LARGEST, _SMALLEST_NORMAL = 65504.0, 2.0**-14
# Adding this rounds a small float32 to a multiple of 2⁻²⁴, the smallest float16.
_UNIT = 0.5
_UNIT_BITS = 0x3F000000
_MAGNITUDE = 0x7FFFFFFF


def _size(builder: Any, x: Any) -> Any:
    return call(builder, "llvm.fabs.v16f32", _V16F32, x)


def _is_small(builder: Any, size: Any) -> Any:
    return builder.fcmp_ordered("<", size, constants(_V16F32, _SMALLEST_NORMAL))


def as_half(builder: Any, x: Any) -> Any:
    """The float32 of the nearest float16, ties to even; beyond the largest one, that. 16 lanes."""
    size, largest = _size(builder, x), constants(_V16F32, _LARGEST)
    size = builder.select(builder.fcmp_ordered("<", size, largest), size, largest)
    bits, one = builder.bitcast(size, _V16I32), constants(_V16I32, 1)
    odd = builder.and_(builder.lshr(bits, constants(_V16I32, 13)), one)
    bits = builder.add(builder.add(bits, constants(_V16I32, 0xFFF)), odd)
    bits = builder.and_(bits, constants(_V16I32, ~0x1FFF))
    unit = constants(_V16F32, _UNIT)
    small = builder.fsub(builder.fadd(size, unit), unit)
    half = builder.select(_is_small(builder, size), small, builder.bitcast(bits, _V16F32))
    is_negative = builder.fcmp_ordered("<", x, constants(_V16F32, 0.0))
    return builder.select(is_negative, builder.fneg(half), half)


def half_bits(builder: Any, half: Any) -> Any:
    """The 16 bits of float32 that are float16. 16 lanes; a zero has no sign."""
    size = _size(builder, half)
    normal = builder.lshr(builder.bitcast(size, _V16I32), constants(_V16I32, 13))
    normal = builder.sub(normal, constants(_V16I32, (127 - 15) << 10))
    small = builder.bitcast(builder.fadd(size, constants(_V16F32, _UNIT)), _V16I32)
    small = builder.sub(small, constants(_V16I32, _UNIT_BITS))
    bits = builder.select(_is_small(builder, size), small, normal)
    is_negative = builder.fcmp_ordered("<", half, constants(_V16F32, 0.0))
    sign = builder.select(is_negative, constants(_V16I32, 0x8000), constants(_V16I32, 0))
    return builder.trunc(builder.or_(bits, sign), _V16I16)


@intrinsic
def largest_of_group(typing: Any, x_at: Any, count: Any, largest_at: Any, peaks_at: Any):
    """(addresses) Of each lane of x [count, 16] the value of largest magnitude, with its sign.

    Stores largest [16] float32. peaks [16] int32 become the bits of the largest magnitude so far,
    which are above those of all numbers where there is NaN.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x_at, count, largest_at, peaks_at = args
        found = cgutils.alloca_once_value(builder, constants(_V16F32, 0.0))
        builder.store(constants(_V16F32, 0.0), found)  # of an earlier call
        peaks = cgutils.alloca_once(builder, _V16I32)
        builder.store(load(builder, peaks_at, _V16I32, 4), peaks)
        with cgutils.for_range(builder, count, intp=_I64) as loop:
            x = load(builder, offset(builder, x_at, loop.index, 4 * LANES), _V16F32, 4)
            largest, peak = builder.load(found), builder.load(peaks)
            is_larger = builder.fcmp_ordered(">", _size(builder, x), _size(builder, largest))
            builder.store(builder.select(is_larger, x, largest), found)
            bits = builder.and_(builder.bitcast(x, _V16I32), constants(_V16I32, _MAGNITUDE))
            is_higher = builder.icmp_signed(">", bits, peak)
            builder.store(builder.select(is_higher, bits, peak), peaks)
        builder.store(builder.load(found), pointer(builder, largest_at, _V16F32)).align = 4
        builder.store(builder.load(peaks), pointer(builder, peaks_at, _V16I32)).align = 4
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), codegen
