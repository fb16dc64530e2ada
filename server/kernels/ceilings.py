"""What the machine can do at best: only reading weights, and only multiplying."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from server.kernels.jit import TIER, intrinsic, kernel
from server.kernels.simd import LANES, call, const, constants, load, multiply_add, splat
from server.kernels.simd_dot import DOTS

_F32, _I32, _I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_V16F32, _V16I32 = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)
_TOKENS = 4
_LINES = 8  # of 64 bytes, read in one round of the loop

CHAINS = 16 if TIER == "avx512vnni" else 8
"""Independent sums: enough to hide latency, and few enough for the registers."""

MACS_PER_DOT, MACS_PER_FMA = 4 * LANES, LANES


@intrinsic
def _read(typing: Any, address: Any, rounds: Any):
    """XOR of 512 bytes in each round, so that they must be read."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address, rounds = args
        zero = constants(_V16I32, 0)
        sums = [cgutils.alloca_once_value(builder, zero) for _ in range(_LINES)]
        with cgutils.for_range(builder, rounds, intp=_I64) as loop:
            start = builder.add(address, builder.mul(loop.index, const(64 * _LINES)))
            for line, total in enumerate(sums):
                value = load(builder, builder.add(start, const(64 * line)), _V16I32, 4)
                builder.store(builder.xor(builder.load(total), value), total)
        return _reduce(builder, [builder.load(total) for total in sums])

    return types.int32(types.int64, types.int64), codegen


def _make_chains(emit: Any, kind: Any) -> Any:
    @intrinsic
    def chains(typing: Any, rounds: Any):
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            sums = [cgutils.alloca_once_value(builder, constants(kind, i)) for i in range(CHAINS)]
            with cgutils.for_range(builder, args[0], intp=_I64) as loop:
                old = [builder.load(total) for total in sums]
                for total, new in zip(sums, emit(builder, old, loop.index), strict=True):
                    builder.store(new, total)
            results = [builder.bitcast(builder.load(total), _V16I32) for total in sums]
            return _reduce(builder, results)

        return types.int32(types.int64), codegen

    return chains


def _emit_dots(builder: Any, old: list[Any], index: Any) -> list[Any]:
    """Like a tile of 4 tokens; the weights change, so that nothing can be moved out of the loop."""
    number = splat(builder, builder.trunc(index, _I32))
    places = range(0, len(old), _TOKENS)
    weights = [builder.xor(number, constants(_V16I32, 0x1234567 * (r + 1))) for r in places]
    tokens = [ir.Constant(_I32, 0x3579BDF * (t + 1)) for t in range(_TOKENS)]
    pairs = [(w, four) for w in weights for four in tokens]
    add = DOTS[TIER].add
    return [add(builder, total, w, four) for total, (w, four) in zip(old, pairs, strict=True)]


def _emit_multiply_adds(builder: Any, old: list[Any], index: Any) -> list[Any]:
    """Each takes its neighbour for weights: nothing can be moved out of the loop here, either."""
    one = constants(_V16F32, 1.0)
    neighbours = [*old[1:], old[0]]
    return [
        multiply_add(builder, weights, one, total)
        for total, weights in zip(old, neighbours, strict=True)
    ]


def _reduce(builder: Any, vectors: list[Any]) -> Any:
    total = vectors[0]
    for vector in vectors[1:]:
        total = builder.xor(total, vector)
    return call(builder, "llvm.vector.reduce.xor.v16i32", _I32, total)


_dots = _make_chains(_emit_dots, _V16I32)
_multiply_adds = _make_chains(_emit_multiply_adds, _V16F32)


@kernel
def read_spans(team, thread, threads, spans, results):
    """Read spans [threads, n, 2] int64 of (address, bytes), each thread its own; no barriers."""
    total = np.int32(0)
    for i in range(spans.shape[1]):
        total ^= _read(spans[thread, i, 0], spans[thread, i, 1] // (64 * _LINES))
    results[thread * 16] = total


@kernel
def multiply_bytes(team, thread, threads, rounds, results):
    """`rounds` times CHAINS dot products of 4 bytes in 16 lanes on each thread."""
    results[thread * 16] = _dots(rounds)


@kernel
def multiply_floats(team, thread, threads, rounds, results):
    """`rounds` times CHAINS multiply-adds of 16 float32 on each thread."""
    results[thread * 16] = _multiply_adds(rounds)
