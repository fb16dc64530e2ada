"""Vector code that LLVM's auto-vectoriser does not find: 16 lanes of float32, by address.

Vectors of 16 are legal on every target: LLVM splits them where registers are narrower, and the
order of operations within a lane stays the same.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from server.kernels.jit import TARGET, intrinsic

LANES = 16

GROUP = 32
"""Consecutive inputs that share a scale in weights and activations of few bits."""

_F32 = ir.FloatType()
_I16 = ir.IntType(16)
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_V16F32 = ir.VectorType(_F32, LANES)
_V16I16 = ir.VectorType(_I16, LANES)
_V16I32 = ir.VectorType(_I32, LANES)


def const(value: int) -> ir.Constant:
    """An i64."""
    return ir.Constant(_I64, value)


def pointer(builder: Any, address: Any, to: Any) -> Any:
    """An address as a pointer to a type."""
    return builder.inttoptr(address, ir.PointerType(to))


def offset(builder: Any, address: Any, index: Any, itemsize: int) -> Any:
    """The address of an item of an array."""
    return builder.add(address, builder.mul(index, const(itemsize)))


def constants(vector: Any, value: float) -> ir.Constant:
    """A vector of equal constants."""
    return ir.Constant(vector, [value] * vector.count)


def splat(builder: Any, scalar: Any, lanes: int = LANES) -> Any:
    """A vector with the scalar in every lane."""
    undefined = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    single = builder.insert_element(undefined, scalar, ir.Constant(_I32, 0))
    mask = ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes)
    return builder.shuffle_vector(single, undefined, mask)


def load(builder: Any, address: Any, vector: Any, align: int) -> Any:
    """What is at an address, as a scalar or vector."""
    value = builder.load(pointer(builder, address, vector))
    value.align = align
    return value


def call(builder: Any, name: str, result: Any, *args: Any) -> Any:
    """Call an LLVM intrinsic."""
    kind = ir.FunctionType(result, [arg.type for arg in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def store_tile(builder: Any, sums: Any, y_at: Any, y_stride: Any) -> None:
    """Store (block of 16 rows, token) → pointer to its 16 sums into y [tokens, 16 · blocks]."""
    for (r, t), total in sums.items():
        index = builder.add(builder.mul(y_stride, const(t)), const(r * LANES))
        target = pointer(builder, offset(builder, y_at, index, 4), _V16F32)
        builder.store(builder.load(total), target).align = 4


def prefetch(builder: Any, address: Any) -> None:
    """Ask for the cache line of an address, which need not be a valid one, into the L2 cache."""
    line = pointer(builder, address, ir.IntType(8))
    read, second_level, data = (ir.Constant(_I32, value) for value in (0, 2, 1))
    call(builder, "llvm.prefetch.p0", ir.VoidType(), line, read, second_level, data)


def multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a · b + c of scalars or vectors of 16 float32, rounded once where the CPU can do that."""
    if not TARGET.has_fma:
        return builder.fadd(builder.fmul(a, b), c)
    suffix = f"v{LANES}f32" if isinstance(a.type, ir.VectorType) else "f32"
    return call(builder, f"llvm.fma.{suffix}", a.type, a, b, c)


def bfloat16_to_float32(builder: Any, bits: Any) -> Any:
    """float32 of the bits of bfloat16, a scalar or 16 lanes: they are its upper half."""
    if not isinstance(bits.type, ir.VectorType):
        wide = builder.shl(builder.zext(bits, _I32), ir.Constant(_I32, 16))
        return builder.bitcast(wide, _F32)
    wide = builder.shl(builder.zext(bits, _V16I32), constants(_V16I32, 16))
    return builder.bitcast(wide, _V16F32)


def float16_to_float32(builder: Any, halves: Any) -> Any:
    """float32 of finite float16, a scalar or 16 lanes."""
    is_vector = isinstance(halves.type, ir.VectorType)
    wide, integer = (_V16F32, _V16I32) if is_vector else (_F32, _I32)
    if TARGET.has_half:
        return builder.fpext(halves, wide)
    bits = builder.bitcast(halves, _V16I16 if is_vector else _I16)

    def constant(kind: Any, value: float) -> Any:
        return ir.Constant(kind, [value] * LANES if is_vector else value)

    # The exponent and mantissa at their place in a float32, whose exponents begin 112 lower.
    sign = builder.shl(builder.zext(bits, integer), constant(integer, 16))
    size = builder.and_(builder.shl(builder.zext(bits, integer), constant(integer, 13)),
                        constant(integer, 0x7FFF << 13))  # fmt: skip
    size = builder.fmul(builder.bitcast(size, wide), constant(wide, 2.0**112))
    sign = builder.and_(sign, constant(integer, -(1 << 31)))
    return builder.bitcast(builder.or_(builder.bitcast(size, integer), sign), wide)


def _make_lane_sum(term: Any) -> Any:
    """An intrinsic (address, n, shift) that sums term(x[i], shift) in 16 lanes, then over lanes."""

    @intrinsic
    def lane_sum(typing: Any, address: Any, n: Any, shift: Any):
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            address, n, shift = args
            total = cgutils.alloca_once_value(builder, constants(_V16F32, 0.0))
            shifts = splat(builder, shift)
            whole = builder.sdiv(n, const(LANES))
            with cgutils.for_range(builder, whole, intp=_I64) as loop:
                at = offset(builder, address, loop.index, 4 * LANES)
                value = term(builder, load(builder, at, _V16F32, 4), shifts)
                builder.store(builder.fadd(builder.load(total), value), total)
            scalar = cgutils.alloca_once_value(
                builder,
                call(
                    builder,
                    "llvm.vector.reduce.fadd.v16f32",
                    _F32,
                    ir.Constant(_F32, 0.0),
                    builder.load(total),
                ),
            )
            done = builder.mul(whole, const(LANES))
            with cgutils.for_range(builder, builder.sub(n, done), intp=_I64) as loop:
                at = offset(builder, address, builder.add(done, loop.index), 4)
                value = term(builder, load(builder, at, _F32, 4), shift)
                builder.store(builder.fadd(builder.load(scalar), value), scalar)
            return builder.load(scalar)

        return types.float32(types.int64, types.int64, types.float32), codegen

    return lane_sum


def _difference(builder: Any, value: Any, shift: Any) -> Any:
    return builder.fsub(value, shift)


def _squared_difference(builder: Any, value: Any, shift: Any) -> Any:
    difference = builder.fsub(value, shift)
    return builder.fmul(difference, difference)


sum_of_differences = _make_lane_sum(_difference)
"""(address, n, shift) → Σ (x[i] − shift), float32."""

sum_of_squares = _make_lane_sum(_squared_difference)
"""(address, n, shift) → Σ (x[i] − shift)², float32."""


@intrinsic
def largest_finite(typing: Any, address: Any, n: Any):
    """(address, n) → the largest finite x[i], float32; −inf if there is none."""
    infinity = float("inf")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def larger(best: Any, value: Any, unbounded: Any) -> Any:
            # Neither comparison holds for NaN.
            is_better = builder.and_(
                builder.fcmp_ordered(">", value, best), builder.fcmp_ordered("<", value, unbounded)
            )
            return builder.select(is_better, value, best)

        address, n = args
        lowest = constants(_V16F32, -infinity)
        unbounded = constants(_V16F32, infinity)
        bests = cgutils.alloca_once_value(builder, lowest)
        whole = builder.sdiv(n, const(LANES))
        with cgutils.for_range(builder, whole, intp=_I64) as loop:
            value = load(builder, offset(builder, address, loop.index, 4 * LANES), _V16F32, 4)
            builder.store(larger(builder.load(bests), value, unbounded), bests)
        best = call(builder, "llvm.vector.reduce.fmax.v16f32", _F32, builder.load(bests))
        best = cgutils.alloca_once_value(builder, best)
        done = builder.mul(whole, const(LANES))
        with cgutils.for_range(builder, builder.sub(n, done), intp=_I64) as loop:
            at = offset(builder, address, builder.add(done, loop.index), 4)
            value = load(builder, at, _F32, 4)
            bound = ir.Constant(_F32, infinity)
            builder.store(larger(builder.load(best), value, bound), best)
        return builder.load(best)

    return types.float32(types.int64, types.int64), codegen


@intrinsic
def widen(typing: Any, value: Any):
    """A float32 as it is, or the float32 of bits of a bfloat16 (uint16) or a float16 (int16)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if signature.args[0] == types.float32:
            return args[0]
        if signature.args[0] == types.int16:
            return float16_to_float32(builder, builder.bitcast(args[0], ir.HalfType()))
        return bfloat16_to_float32(builder, args[0])

    return types.float32(value), codegen
