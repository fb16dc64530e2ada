"""Vector code for 8-bit weights: quantising activations, and exact integer dot products.

Weights are unsigned bytes (code + 128), activations signed ones: that is what `vpdpbusd` takes.
An accumulator starts at −128 · Σ activations of its group of 32, so the offset falls out exactly.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from server.kernels.jit import intrinsic
from server.kernels.simd import LANES, call, const, load, offset, pointer, splat

GROUP = 32
"""Consecutive inputs that share a scale."""

OFFSET = 128

_STEPS = GROUP // 4  # of four bytes
_F32, _HALF, _I8, _I16 = ir.FloatType(), ir.HalfType(), ir.IntType(8), ir.IntType(16)
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_V16F32, _V16F16 = ir.VectorType(_F32, 16), ir.VectorType(_HALF, 16)
_V16I32, _V8I32 = ir.VectorType(_I32, 16), ir.VectorType(_I32, 8)
_V16I16, _V16I8 = ir.VectorType(_I16, 16), ir.VectorType(_I8, 16)


def _constants(vector: Any, value: float) -> ir.Constant:
    return ir.Constant(vector, [value] * vector.count)


def _halves(builder: Any, vector: Any) -> list[Any]:
    """The two <8 x i32> of a <16 x i32>."""
    undefined = ir.Constant(_V16I32, ir.Undefined)
    masks = [ir.Constant(_V8I32, list(range(start, start + 8))) for start in (0, 8)]
    return [builder.shuffle_vector(vector, undefined, mask) for mask in masks]


def _join(builder: Any, low: Any, high: Any) -> Any:
    return builder.shuffle_vector(low, high, ir.Constant(_V16I32, list(range(16))))


def _dot_avx512vnni(builder: Any, total: Any, weights: Any, four: Any) -> Any:
    name = "llvm.x86.avx512.vpdpbusd.512"
    return call(builder, name, _V16I32, total, weights, splat(builder, four, 16))


def _dot_avxvnni(builder: Any, total: Any, weights: Any, four: Any) -> Any:
    lanes = splat(builder, four, 8)
    pairs = zip(_halves(builder, total), _halves(builder, weights), strict=True)
    name = "llvm.x86.avx512.vpdpbusd.256"
    return _join(builder, *(call(builder, name, _V8I32, t, w, lanes) for t, w in pairs))


def _dot_avx2(builder: Any, total: Any, weights: Any, four: Any) -> Any:
    """Even and odd bytes as 16-bit numbers; `pmaddwd` adds their products in pairs, exactly."""
    eight = _constants(_V16I16, 8)
    lanes = builder.bitcast(splat(builder, four, 8), _V16I16)
    odd_lanes = builder.ashr(lanes, eight)
    even_lanes = builder.ashr(builder.shl(lanes, eight), eight)
    name, results = "llvm.x86.avx2.pmadd.wd", []
    for part, bytes_ in zip(_halves(builder, total), _halves(builder, weights), strict=True):
        words = builder.bitcast(bytes_, _V16I16)
        even = builder.and_(words, _constants(_V16I16, 255))
        odd = builder.lshr(words, eight)
        part = builder.add(part, call(builder, name, _V8I32, even, even_lanes))
        results.append(builder.add(part, call(builder, name, _V8I32, odd, odd_lanes)))
    return _join(builder, *results)


def _dot_portable(builder: Any, total: Any, weights: Any, four: Any) -> Any:
    for place in range(4):
        left = ir.Constant(_I32, 24 - 8 * place)
        activation = builder.ashr(builder.shl(four, left), ir.Constant(_I32, 24))
        code = builder.lshr(weights, _constants(_V16I32, 8 * place))
        code = builder.and_(code, _constants(_V16I32, 255))
        total = builder.add(total, builder.mul(code, splat(builder, activation, 16)))
    return total


_DOTS: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    "avx512vnni": _dot_avx512vnni,
    "avxvnni": _dot_avxvnni,
    "avx2": _dot_avx2,
    "portable": _dot_portable,
}


def make_int8_tile(row_blocks: int, tokens: int, tier: str) -> Any:
    """An intrinsic that multiplies 16 × row_blocks rows of 8-bit weights with some tokens.

    tile(groups, codes_at, scales_at, x_at, x_scales_at, x_sums_at, x_groups, y_at, y_stride):
    addresses of the first block's codes [K/4, 16, 4] and float16 scales [groups, 16], of the first
    token's codes, scales and sums, whose rows are x_groups groups long, and of its first output.
    Within a group sums are exact; over groups there is one chain of fused multiply-adds.
    """
    dot = _DOTS[tier]

    @intrinsic
    def tile(typing: Any, groups: Any, codes_at: Any, scales_at: Any, x_at: Any, x_scales_at: Any,
             x_sums_at: Any, x_groups: Any, y_at: Any, y_stride: Any):  # fmt: skip
        signature = types.void(*([types.int64] * 9))

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            groups, codes_at, scales_at, x_at, x_scales_at, x_sums_at, x_groups, y_at, stride = args
            zero = _constants(_V16F32, 0.0)
            cells = [(r, t) for r in range(row_blocks) for t in range(tokens)]
            sums = {cell: cgutils.alloca_once_value(builder, zero) for cell in cells}
            with cgutils.for_range(builder, groups, intp=_I64) as loop:
                at_token = [
                    builder.add(builder.mul(x_groups, const(t)), loop.index) for t in range(tokens)
                ]
                starts = [
                    load(builder, offset(builder, x_sums_at, i, 4), _I32, 4) for i in at_token
                ]
                totals = {(r, t): splat(builder, starts[t], 16) for r, t in cells}
                at_block = [
                    builder.add(builder.mul(groups, const(r)), loop.index)
                    for r in range(row_blocks)
                ]
                for step in range(_STEPS):
                    weights = [
                        load(builder, builder.add(
                            offset(builder, codes_at, i, GROUP * LANES), const(step * 64)
                        ), _V16I32, 64)
                        for i in at_block
                    ]  # fmt: skip
                    for t in range(tokens):
                        at = builder.add(offset(builder, x_at, at_token[t], GROUP), const(step * 4))
                        four = load(builder, at, _I32, 4)
                        for r in range(row_blocks):
                            totals[r, t] = dot(builder, totals[r, t], weights[r], four)
                for r in range(row_blocks):
                    half = load(builder, offset(builder, scales_at, at_block[r], 32), _V16F16, 32)
                    row_scales = builder.fpext(half, _V16F32)
                    for t in range(tokens):
                        x_scale = load(
                            builder, offset(builder, x_scales_at, at_token[t], 4), _F32, 4
                        )
                        scale = builder.fmul(row_scales, splat(builder, x_scale, 16))
                        total = builder.sitofp(totals[r, t], _V16F32)
                        sum_ = builder.load(sums[r, t])
                        sum_ = call(builder, "llvm.fma.v16f32", _V16F32, total, scale, sum_)
                        builder.store(sum_, sums[r, t])
            for r, t in cells:
                index = builder.add(builder.mul(stride, const(t)), const(r * LANES))
                target = pointer(builder, offset(builder, y_at, index, 4), _V16F32)
                builder.store(builder.load(sums[r, t]), target).align = 4
            return context.get_dummy_value()

        return signature, codegen

    return tile


@intrinsic
def quantize_group(typing: Any, x_at: Any, codes_at: Any, scale_at: Any, sum_at: Any):
    """(addresses) Quantise 32 float32 to int8; store the float32 scale and −128 · Σ codes, int32.

    The largest magnitude becomes ±127. A value that is not finite makes the scale so, too.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x_at, codes_at, scale_at, sum_at = args
        parts = [load(builder, builder.add(x_at, const(64 * i)), _V16F32, 4) for i in range(2)]
        # Magnitudes compare as integers, and so does what is not finite: it is larger.
        magnitude = _constants(_V16I32, 0x7FFFFFFF)
        sizes = [builder.and_(builder.bitcast(part, _V16I32), magnitude) for part in parts]
        largest = call(builder, "llvm.umax.v16i32", _V16I32, *sizes)
        largest = call(builder, "llvm.vector.reduce.umax.v16i32", _I32, largest)
        largest = builder.bitcast(largest, _F32)
        scale = builder.fmul(largest, ir.Constant(_F32, 1 / 127))
        builder.store(scale, pointer(builder, scale_at, _F32))
        is_zero = builder.fcmp_ordered("==", largest, ir.Constant(_F32, 0.0))
        inverse = builder.fdiv(ir.Constant(_F32, 127.0), largest)
        inverse = splat(builder, builder.select(is_zero, ir.Constant(_F32, 0.0), inverse))
        total = _constants(_V16I32, 0)
        for i, part in enumerate(parts):
            scaled = builder.fmul(part, inverse)
            # Only what is not a number is outside: it must not reach the conversion.
            top = _constants(_V16F32, 127.0)
            scaled = builder.select(builder.fcmp_ordered("<", scaled, top), scaled, top)
            rounded = call(builder, "llvm.rint.v16f32", _V16F32, scaled)
            codes = builder.fptosi(rounded, _V16I32)
            total = builder.add(total, codes)
            target = pointer(builder, builder.add(codes_at, const(16 * i)), _V16I8)
            builder.store(builder.trunc(codes, _V16I8), target).align = 1
        total = call(builder, "llvm.vector.reduce.add.v16i32", _I32, total)
        total = builder.mul(total, ir.Constant(_I32, -OFFSET))
        builder.store(total, pointer(builder, sum_at, _I32))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), codegen
