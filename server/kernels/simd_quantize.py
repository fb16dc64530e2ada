"""Vector code that quantises activations to 8 bits."""

from typing import Any

from llvmlite import ir
from numba import types

from server.kernels.jit import intrinsic
from server.kernels.simd import call, const, constants, load, pointer, splat
from server.kernels.simd_dot import OFFSET

_F32, _I8, _I32 = ir.FloatType(), ir.IntType(8), ir.IntType(32)
_V16F32, _V16I32 = ir.VectorType(_F32, 16), ir.VectorType(_I32, 16)
_V16I8 = ir.VectorType(_I8, 16)


@intrinsic
def quantize_group(typing: Any, x_at: Any, codes_at: Any, scale_at: Any, sum_at: Any):
    """(addresses) Quantise 32 float32 to int8; store the float32 scale and −128 · Σ codes, int32.

    The largest magnitude becomes ±127. A value that is not finite makes the scale so, too.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x_at, codes_at, scale_at, sum_at = args
        parts = [load(builder, builder.add(x_at, const(64 * i)), _V16F32, 4) for i in range(2)]
        # Magnitudes compare as integers, and so does what is not finite: it is larger.
        magnitude = constants(_V16I32, 0x7FFFFFFF)
        sizes = [builder.and_(builder.bitcast(part, _V16I32), magnitude) for part in parts]
        largest = call(builder, "llvm.umax.v16i32", _V16I32, *sizes)
        largest = call(builder, "llvm.vector.reduce.umax.v16i32", _I32, largest)
        largest = builder.bitcast(largest, _F32)
        scale = builder.fmul(largest, ir.Constant(_F32, 1 / 127))
        builder.store(scale, pointer(builder, scale_at, _F32))
        is_zero = builder.fcmp_ordered("==", largest, ir.Constant(_F32, 0.0))
        inverse = builder.fdiv(ir.Constant(_F32, 127.0), largest)
        inverse = splat(builder, builder.select(is_zero, ir.Constant(_F32, 0.0), inverse))
        total = constants(_V16I32, 0)
        for i, part in enumerate(parts):
            scaled = builder.fmul(part, inverse)
            # Only what is not a number is outside: it must not reach the conversion.
            top = constants(_V16F32, 127.0)
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
