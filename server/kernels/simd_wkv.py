"""WKV recurrences for some value channels of one head, their sums in registers."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from server.kernels.jit import intrinsic
from server.kernels.simd import LANES, const, constants, load, multiply_add, offset, pointer, splat

_F32, _I64 = ir.FloatType(), ir.IntType(64)
_V16F32 = ir.VectorType(_F32, LANES)


def make_wkv7_lanes(blocks: int) -> Any:
    """An intrinsic that advances 16 × blocks value channels of one head by one token.

    lanes(n, state_at, r_at, decay_at, k_at, kk_at, rate_at, v_at, out_at): n keys; addresses of the
    first lane of state [n, n] (keys by values), of the vectors over keys, and of the first lane of
    v and out. Each lane runs over the keys twice, in order.
    """

    @intrinsic
    def lanes(typing: Any, n: Any, state_at: Any, r_at: Any, decay_at: Any, k_at: Any, kk_at: Any,
              rate_at: Any, v_at: Any, out_at: Any):  # fmt: skip
        signature = types.void(*([types.int64] * 9))

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            n, state_at, r_at, decay_at, k_at, kk_at, rate_at, v_at, out_at = args
            row_bytes = builder.mul(n, const(4))
            zero = constants(_V16F32, 0.0)
            places = range(blocks)

            def scalar(at: Any, index: Any) -> Any:
                return load(builder, offset(builder, at, index, 4), _F32, 4)

            def row(index: Any, place: int) -> Any:
                at = builder.add(state_at, builder.mul(index, row_bytes))
                return builder.add(at, const(4 * LANES * place))

            removed = [cgutils.alloca_once_value(builder, zero) for _ in places]
            with cgutils.for_range(builder, n, intp=_I64) as loop:
                key = splat(builder, scalar(kk_at, loop.index))
                for place in places:
                    held = load(builder, row(loop.index, place), _V16F32, 4)
                    total = multiply_add(builder, held, key, builder.load(removed[place]))
                    builder.store(total, removed[place])
            minus = [builder.fneg(builder.load(total)) for total in removed]
            values = [
                load(builder, builder.add(v_at, const(4 * LANES * p)), _V16F32, 4) for p in places
            ]
            sums = [cgutils.alloca_once_value(builder, zero) for _ in places]
            with cgutils.for_range(builder, n, intp=_I64) as loop:
                j = loop.index
                kept, added = splat(builder, scalar(decay_at, j)), splat(builder, scalar(k_at, j))
                rate = builder.fmul(scalar(kk_at, j), scalar(rate_at, j))
                rate, read = splat(builder, rate), splat(builder, scalar(r_at, j))
                for place in places:
                    target = pointer(builder, row(j, place), _V16F32)
                    held = load(builder, row(j, place), _V16F32, 4)
                    held = multiply_add(builder, values[place], added, builder.fmul(held, kept))
                    held = multiply_add(builder, minus[place], rate, held)
                    builder.store(held, target).align = 4
                    total = multiply_add(builder, held, read, builder.load(sums[place]))
                    builder.store(total, sums[place])
            for place in places:
                at = builder.add(out_at, const(4 * LANES * place))
                target = pointer(builder, at, _V16F32)
                builder.store(builder.load(sums[place]), target).align = 4
            return context.get_dummy_value()

        return signature, codegen

    return lanes


def make_wkv6_lanes(blocks: int) -> Any:
    """An intrinsic that reads and advances 16 × blocks value channels of one head by one token.

    lanes(n, state_at, r_at, decay_at, k_at, v_at, out_at): as in make_wkv7_lanes, but a lane runs
    over the keys once.
    """

    @intrinsic
    def lanes(typing: Any, n: Any, state_at: Any, r_at: Any, decay_at: Any, k_at: Any, v_at: Any,
              out_at: Any):  # fmt: skip
        signature = types.void(*([types.int64] * 7))

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            n, state_at, r_at, decay_at, k_at, v_at, out_at = args
            row_bytes = builder.mul(n, const(4))
            places = [const(4 * LANES * place) for place in range(blocks)]
            values = [load(builder, builder.add(v_at, place), _V16F32, 4) for place in places]
            zero = constants(_V16F32, 0.0)
            sums = [cgutils.alloca_once_value(builder, zero) for _ in places]

            def key(at: Any, index: Any) -> Any:
                return splat(builder, load(builder, offset(builder, at, index, 4), _F32, 4))

            with cgutils.for_range(builder, n, intp=_I64) as loop:
                j = loop.index
                read, kept, added = key(r_at, j), key(decay_at, j), key(k_at, j)
                row = builder.add(state_at, builder.mul(j, row_bytes))
                for place, value, total in zip(places, values, sums, strict=True):
                    at = builder.add(row, place)
                    held = load(builder, at, _V16F32, 4)
                    summed = multiply_add(builder, held, read, builder.load(total))
                    builder.store(summed, total)
                    held = multiply_add(builder, value, added, builder.fmul(held, kept))
                    builder.store(held, pointer(builder, at, _V16F32)).align = 4
            for place, total in zip(places, sums, strict=True):
                target = pointer(builder, builder.add(out_at, place), _V16F32)
                builder.store(builder.load(total), target).align = 4
            return context.get_dummy_value()

        return signature, codegen

    return lanes
