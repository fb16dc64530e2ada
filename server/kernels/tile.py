"""A tile: some rows of weights times some tokens, in registers."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from server.kernels.jit import TIER, intrinsic
from server.kernels.matrices import FloatMatrix, Int4Matrix
from server.kernels.simd import LANES, const, offset
from server.kernels.simd_tile_float import emit_float_tile
from server.kernels.simd_tile_integer import emit_integer_tile


def make_tile(row_blocks: int, tokens: int, tier: str = TIER) -> Any:
    """An intrinsic tile(w, x, y, block, t, ahead) for 16 × row_blocks rows and some tokens.

    It writes y[t : t + tokens, 16 · block : 16 · (block + row_blocks)]. w is one matrix, x what it
    reads (see linear.multiply), y [≥ t + tokens, ≥ 16 · blocks] float32. An output's bits do not
    depend on the tile. Weights `ahead` blocks further on are fetched into the cache.
    """

    @intrinsic
    def tile(typing: Any, w: Any, x: Any, y: Any, block: Any, t: Any, ahead: Any):
        signature = types.void(w, x, y, types.int64, types.int64, types.int64)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            w_type, x_type, y_type = signature.args[:3]
            w, x, y, block, t, ahead = args
            weights = _Arrays(context, builder, w_type, w)
            outputs = context.make_array(y_type)(context, builder, y)
            stride = cgutils.unpack_tuple(builder, outputs.shape)[1]
            y_at = builder.add(builder.mul(t, stride), builder.mul(block, const(LANES)))
            y_at = offset(builder, builder.ptrtoint(outputs.data, ir.IntType(64)), y_at, 4)
            shape = row_blocks, tokens
            if w_type.instance_class is FloatMatrix:
                w_at, w_shape = weights.row("codes", block)
                x_at, x_shape = _row(context, builder, x_type, x, t)
                dtype = weights.dtype("codes")
                emit_float_tile(
                    builder, dtype, shape, w_shape[1], w_at, ahead, x_at, x_shape[1], y_at, stride
                )
                return context.get_dummy_value()
            inputs = _Arrays(context, builder, x_type, x)
            scales_at, scales_shape = weights.row("scales", block)
            x_rows = [inputs.row(name, t) for name in ("codes", "scales", "sums")]
            x_strides = x_rows[0][1][1], x_rows[1][1][1]
            addresses = [weights.row("codes", block)[0], scales_at, *(at for at, _ in x_rows)]
            bits = 4 if w_type.instance_class is Int4Matrix else 8
            groups = scales_shape[1]
            emit_integer_tile(
                builder, bits, tier, shape, groups, addresses, ahead, x_strides, y_at, stride
            )
            return context.get_dummy_value()

        return signature, codegen

    return tile


class _Arrays:
    """The arrays of a named tuple in compiled code."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        self._context, self._builder, self._kind, self._value = context, builder, kind, value

    def dtype(self, name: str) -> Any:
        return self._kind.types[self._kind.fields.index(name)].dtype

    def row(self, name: str, index: Any) -> tuple[Any, Any]:
        """The address of array[index], and the array's shape."""
        place = self._kind.fields.index(name)
        value = self._builder.extract_value(self._value, place)
        return _row(self._context, self._builder, self._kind.types[place], value, index)


def _row(context: Any, builder: Any, kind: Any, value: Any, index: Any) -> tuple[Any, Any]:
    array = context.make_array(kind)(context, builder, value)
    shape = cgutils.unpack_tuple(builder, array.shape)
    size = const(kind.dtype.bitwidth // 8)
    for length in shape[1:]:
        size = builder.mul(size, length)
    start = builder.ptrtoint(array.data, ir.IntType(64))
    return builder.add(start, builder.mul(index, size)), shape
