"""Vector code that multiplies some rows of 8-bit or 4-bit weights with some tokens."""

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from server.kernels.simd import (
    GROUP,
    LANES,
    const,
    constants,
    float16_to_float32,
    load,
    multiply_add,
    offset,
    prefetch,
    splat,
    store_tile,
)
from server.kernels.simd_dot import DOTS, expand_int4

_F32, _I32, _I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_V16F32, _V16F16 = ir.VectorType(_F32, LANES), ir.VectorType(ir.HalfType(), LANES)
_V16I32 = ir.VectorType(_I32, LANES)


def emit_integer_tile(
    builder: Any, bits: int, tier: str, shape: tuple[int, int], groups: Any, addresses: list[Any],
    ahead: Any, x_strides: tuple[Any, Any], y_at: Any, y_stride: Any,
) -> None:  # fmt: skip
    """Emit code for shape = (blocks of 16 rows, tokens) and weights of 8 or 4 bits.

    addresses (i64): of the first block's codes [K / 4, 16, 4] (of 4 bits: [K / 8, 16, 4]) and
    float16 scales [groups, 16], of the first token's codes, scales and sums; y_at of its first
    output. ahead: so many blocks further on weights are fetched into the cache. x_strides
    (elements): from token to token of codes, and of scales and sums. Within a group sums are exact;
    over groups there is one chain of multiply-adds.
    """
    row_blocks, tokens = shape
    codes_at, scales_at, x_at, x_scales_at, x_sums_at = addresses
    dot = DOTS[tier]
    group_bytes = GROUP * LANES * bits // 8
    cells = [(r, t) for r in range(row_blocks) for t in range(tokens)]
    zero = constants(_V16F32, 0.0)
    sums = {cell: cgutils.alloca_once_value(builder, zero) for cell in cells}
    with cgutils.for_range(builder, groups, intp=_I64) as loop:
        at_token = [
            builder.add(builder.mul(x_strides[1], const(t)), loop.index) for t in range(tokens)
        ]
        codes_of = [builder.add(x_at, builder.mul(x_strides[0], const(t))) for t in range(tokens)]
        at_block = [
            builder.add(builder.mul(groups, const(r)), loop.index) for r in range(row_blocks)
        ]
        totals = {cell: constants(_V16I32, 0) for cell in cells}
        if dot.is_offset:
            for r, t in cells:
                start = load(builder, offset(builder, x_sums_at, at_token[t], 4), _I32, 4)
                totals[r, t] = splat(builder, start)
        ahead_at = [builder.add(builder.mul(groups, ahead), index) for index in at_block]
        for index in ahead_at:
            prefetch(builder, offset(builder, scales_at, index, 2 * LANES))
        for place in range(GROUP * bits // 32):
            at = builder.add(codes_at, const(64 * place))
            blocks = [offset(builder, at, index, group_bytes) for index in at_block]
            for index in ahead_at:
                prefetch(builder, offset(builder, at, index, group_bytes))
            for inputs, weights in _load_codes(builder, bits, dot, blocks, place):
                for t in range(tokens):
                    at = offset(builder, codes_of[t], loop.index, GROUP)
                    at = builder.add(at, const(inputs))
                    four = load(builder, at, _I32, 4)
                    for r in range(row_blocks):
                        totals[r, t] = dot.add(builder, totals[r, t], weights[r], four)
        for r in range(row_blocks):
            half = load(builder, offset(builder, scales_at, at_block[r], 32), _V16F16, 32)
            row_scales = float16_to_float32(builder, half)
            for t in range(tokens):
                x_scale = load(builder, offset(builder, x_scales_at, at_token[t], 4), _F32, 4)
                scale = builder.fmul(row_scales, splat(builder, x_scale))
                total = builder.sitofp(totals[r, t], _V16F32)
                total = multiply_add(builder, total, scale, builder.load(sums[r, t]))
                builder.store(total, sums[r, t])
    store_tile(builder, sums, y_at, y_stride)


def _load_codes(
    builder: Any, bits: int, dot: Any, blocks: list[Any], place: int
) -> list[tuple[int, list[Any]]]:
    """Of 64 bytes of each block: (first of four inputs, <16 x i32> of bytes for each block)."""
    vectors = [load(builder, at, _V16I32, 64) for at in blocks]
    if bits == 8:
        return [(4 * place, vectors)]
    pairs = [expand_int4(builder, vector, dot) for vector in vectors]
    low, high = ([pair[part] for pair in pairs] for part in (0, 1))
    return [(8 * place, low), (8 * place + 4, high)]
