"""exp, sigmoid and tanh in float32, free of branches and library calls, so that loops vectorise.

LLVM cannot vectorise a call of the C library's exp. These are within 2e-7 of the true values, and
the same operations in the same order whether a loop runs in vectors or not.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from server.kernels.jit import intrinsic, kernel
from server.kernels.simd import call, multiply_add

_F32, _I32 = ir.FloatType(), ir.IntType(32)

# exp(r) ≈ 1 + r + r² · polynomial for |r| ≤ ln 2 / 2 (Cephes, expf).
_POLYNOMIAL = (
    *(1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3),
    *(4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1),
)
# ln 2 in two parts: a whole number times the first is exact.
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
_SMALLEST, _LARGEST = -87.0, 88.0


def _constant(value: float) -> ir.Constant:
    return ir.Constant(_F32, float(np.float32(value)))


@intrinsic
def exp(typing: Any, x: Any):
    """exp(x), float32; beyond −87 and 88 as at these borders. NaN stays NaN."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def fma(a: Any, b: Any, c: Any) -> Any:
            return multiply_add(builder, a, b, c)

        x, low, high = args[0], _constant(_SMALLEST), _constant(_LARGEST)
        x = builder.select(builder.fcmp_ordered("<", x, low), low, x)
        x = builder.select(builder.fcmp_ordered(">", x, high), high, x)
        scaled = builder.fmul(x, _constant(1 / math.log(2)))
        whole = call(builder, "llvm.rint.f32", _F32, scaled)
        rest = fma(whole, _constant(-_LN2_HIGH), x)
        rest = fma(whole, _constant(-_LN2_LOW), rest)
        value = _constant(_POLYNOMIAL[0])
        for coefficient in _POLYNOMIAL[1:]:
            value = fma(value, rest, _constant(coefficient))
        value = fma(value, builder.fmul(rest, rest), rest)
        value = builder.fadd(value, _constant(1.0))
        # 2 to the power of `whole`, by its exponent bits. Not for NaN, which has no whole number.
        is_number = builder.fcmp_ordered("ord", whole, whole)
        power = builder.fptosi(builder.select(is_number, whole, _constant(0.0)), _I32)
        bits = builder.shl(builder.add(power, ir.Constant(_I32, 127)), ir.Constant(_I32, 23))
        return builder.fmul(value, builder.bitcast(bits, _F32))

    return types.float32(types.float32), codegen


@kernel
def sigmoid(x):
    """1 / (1 + exp(−x)), float32."""
    return np.float32(1) / (np.float32(1) + exp(-x))


@kernel
def tanh(x):
    """Hyperbolic tangent, float32, to 2e-7 absolute."""
    return np.float32(1) - np.float32(2) / (np.float32(1) + exp(x + x))
