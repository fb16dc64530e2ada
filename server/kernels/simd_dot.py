"""Exact dot products of bytes, and the expansion of 4-bit codes to bytes, for each tier.

Weights are 64 bytes, four consecutive inputs of 16 rows, as <16 x i32>; the activations of these
inputs are the four signed bytes of one i32. All tiers give the same sums.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir

from server.kernels.int4 import INT4_VALUES
from server.kernels.simd import call, constants, splat

OFFSET = 128
"""Weights are unsigned bytes, code + 128: what the instruction `vpdpbusd` takes."""

_I1, _I8, _I16, _I32 = (ir.IntType(bits) for bits in (1, 8, 16, 32))
_V16I32, _V8I32 = ir.VectorType(_I32, 16), ir.VectorType(_I32, 8)
_V16I16 = ir.VectorType(_I16, 16)
_V64I8, _V32I8 = ir.VectorType(_I8, 64), ir.VectorType(_I8, 32)


class Dot(NamedTuple):
    """How a tier multiplies."""

    add: Callable[[Any, Any, Any, Any], Any]
    """(builder, totals <16 x i32>, weights <16 x i32>, four activations i32) → new totals."""
    is_offset: bool
    """Whether a product counts a weight as code + 128, so that a sum must start lower."""
    look_up: Callable[[Any, Any, bytes], Any]
    """(builder, indices <64 x i8> below 16, table of 16 bytes) → <64 x i8>."""


def _halves(builder: Any, vector: Any) -> list[Any]:
    """The two halves of a vector."""
    count = vector.type.count
    undefined = ir.Constant(vector.type, ir.Undefined)
    places = [list(range(count // 2)), list(range(count // 2, count))]
    masks = [ir.Constant(ir.VectorType(_I32, count // 2), place) for place in places]
    return [builder.shuffle_vector(vector, undefined, mask) for mask in masks]


def _join(builder: Any, low: Any, high: Any) -> Any:
    count = 2 * low.type.count
    mask = ir.Constant(ir.VectorType(_I32, count), list(range(count)))
    return builder.shuffle_vector(low, high, mask)


def _dot_avx512vnni(builder: Any, totals: Any, weights: Any, four: Any) -> Any:
    name = "llvm.x86.avx512.vpdpbusd.512"
    return call(builder, name, _V16I32, totals, weights, splat(builder, four, 16))


def _dot_avxvnni(builder: Any, totals: Any, weights: Any, four: Any) -> Any:
    lanes = splat(builder, four, 8)
    pairs = zip(_halves(builder, totals), _halves(builder, weights), strict=True)
    name = "llvm.x86.avx512.vpdpbusd.256"
    return _join(builder, *(call(builder, name, _V8I32, t, w, lanes) for t, w in pairs))


def _dot_avx2(builder: Any, totals: Any, weights: Any, four: Any) -> Any:
    """|weight| · (activation with the weight's sign): sums of two fit into 16 bits, exactly.

    With unsigned weights `pmaddubsw` would saturate.
    """
    lanes = builder.bitcast(splat(builder, four, 8), _V32I8)
    signed = builder.bitcast(builder.xor(weights, constants(_V16I32, -0x7F7F7F80)), _V64I8)
    ones, results = constants(_V16I16, 1), []
    for part, codes in zip(_halves(builder, totals), _halves(builder, signed), strict=True):
        sizes = call(builder, "llvm.abs.v32i8", _V32I8, codes, ir.Constant(_I1, 0))
        turned = call(builder, "llvm.x86.avx2.psign.b", _V32I8, lanes, codes)
        pairs = call(builder, "llvm.x86.avx2.pmadd.ub.sw", _V16I16, sizes, turned)
        fours = call(builder, "llvm.x86.avx2.pmadd.wd", _V8I32, pairs, ones)
        results.append(builder.add(part, fours))
    return _join(builder, *results)


def _dot_portable(builder: Any, totals: Any, weights: Any, four: Any) -> Any:
    for place in range(4):
        left = ir.Constant(_I32, 24 - 8 * place)
        activation = builder.ashr(builder.shl(four, left), ir.Constant(_I32, 24))
        code = builder.lshr(weights, constants(_V16I32, 8 * place))
        code = builder.and_(code, constants(_V16I32, 255))
        totals = builder.add(totals, builder.mul(code, splat(builder, activation, 16)))
    return totals


def _look_up_avx512(builder: Any, indices: Any, table: bytes) -> Any:
    name = "llvm.x86.avx512.pshuf.b.512"
    return call(builder, name, _V64I8, ir.Constant(_V64I8, list(table * 4)), indices)


def _look_up_avx2(builder: Any, indices: Any, table: bytes) -> Any:
    values, name = ir.Constant(_V32I8, list(table * 2)), "llvm.x86.avx2.pshuf.b"
    parts = [call(builder, name, _V32I8, values, half) for half in _halves(builder, indices)]
    return _join(builder, *parts)


def _look_up_portable(builder: Any, indices: Any, table: bytes) -> Any:
    """By halving: each bit of the index chooses between neighbours."""
    values = [constants(_V64I8, value) for value in table]
    for bit in range(4):
        is_set = builder.and_(indices, constants(_V64I8, 1 << bit))
        is_set = builder.icmp_unsigned("!=", is_set, constants(_V64I8, 0))
        pairs = zip(values[1::2], values[::2], strict=True)
        values = [builder.select(is_set, odd, even) for odd, even in pairs]
    return values[0]


DOTS = {
    "avx512vnni": Dot(_dot_avx512vnni, True, _look_up_avx512),
    "avxvnni": Dot(_dot_avxvnni, True, _look_up_avx2),
    "avx2": Dot(_dot_avx2, False, _look_up_avx2),
    "portable": Dot(_dot_portable, True, _look_up_portable),
}


def expand_int4(builder: Any, pairs: Any, dot: Dot) -> tuple[Any, Any]:
    """Two codes in each byte of <16 x i32> → twice <16 x i32> of value + 128: inputs 0–3, 4–7."""
    table = bytes(value + OFFSET for value in INT4_VALUES)
    low = builder.and_(builder.bitcast(pairs, _V64I8), constants(_V64I8, 15))
    high = builder.bitcast(builder.lshr(pairs, constants(_V16I32, 4)), _V64I8)
    high = builder.and_(high, constants(_V64I8, 15))
    low, high = (dot.look_up(builder, indices, table) for indices in (low, high))
    return builder.bitcast(low, _V16I32), builder.bitcast(high, _V16I32)
