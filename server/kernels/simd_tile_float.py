"""Vector code that multiplies some rows of floating-point weights with some tokens."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from server.kernels.simd import (
    LANES,
    bfloat16_to_float32,
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

_F32, _I64 = ir.FloatType(), ir.IntType(64)
_V16F32, _V16F16 = ir.VectorType(_F32, LANES), ir.VectorType(ir.HalfType(), LANES)
_V16I16 = ir.VectorType(ir.IntType(16), LANES)


def _load_weights(builder: Any, address: Any, dtype: Any) -> Any:
    """Sixteen weights as float32."""
    if dtype == types.float32:
        return load(builder, address, _V16F32, 4 * LANES)
    if dtype == types.int16:
        return float16_to_float32(builder, load(builder, address, _V16F16, 2 * LANES))
    return bfloat16_to_float32(builder, load(builder, address, _V16I16, 2 * LANES))


def emit_float_tile(
    builder: Any, dtype: Any, shape: tuple[int, int], k: Any, w_at: Any, ahead: Any, x_at: Any,
    x_stride: Any, y_at: Any, y_stride: Any,
) -> None:  # fmt: skip
    """Emit code for shape = (blocks of 16 rows, tokens).

    Weights of a Numba dtype [blocks, k, 16], inputs [tokens, k] and outputs [tokens, 16 · blocks]
    are given by address (i64) and stride in elements. ahead: so many blocks further on weights are
    fetched into the cache. Each output is one chain of multiply-adds over 0, 1, …, k − 1.
    """
    row_blocks, tokens = shape
    itemsize = dtype.bitwidth // 8
    block = builder.mul(k, const(LANES * itemsize))
    zero = constants(_V16F32, 0.0)
    cells = [(r, t) for r in range(row_blocks) for t in range(tokens)]
    sums = {cell: cgutils.alloca_once_value(builder, zero) for cell in cells}
    with cgutils.for_range(builder, k, intp=_I64) as loop:
        weights = []
        for r in range(row_blocks):
            at = builder.add(w_at, builder.mul(block, const(r)))
            at = offset(builder, at, loop.index, LANES * itemsize)
            prefetch(builder, builder.add(at, builder.mul(block, ahead)))
            weights.append(_load_weights(builder, at, dtype))
        for t in range(tokens):
            index = builder.add(builder.mul(x_stride, const(t)), loop.index)
            lanes = splat(builder, load(builder, offset(builder, x_at, index, 4), _F32, 4))
            for r in range(row_blocks):
                total = multiply_add(builder, weights[r], lanes, builder.load(sums[r, t]))
                builder.store(total, sums[r, t])
    store_tile(builder, sums, y_at, y_stride)
