"""Quantising weights to 8 or 4 bits, packed as the matrix kernels read them.

A group, 32 consecutive inputs of a row, shares a float16 scale. The groups of 16 rows are computed
side by side, a row a lane, so that LLVM makes vector code of the loops over lanes and no sum
crosses them: what becomes of a row depends on nothing but the row, not even on the CPU.
"""

import numpy as np

from server.kernels.int4 import quantize_int4_group
from server.kernels.jit import inner_kernel, kernel
from server.kernels.simd import GROUP, LANES, widen
from server.kernels.simd_half import largest_of_group
from server.kernels.team import share

_LARGEST_HALF = np.float32(65504)
_SMALLEST_NORMAL_HALF = np.float32(2**-14)
# Adding this rounds a small float32 to a multiple of 2⁻²⁴, the smallest float16.
_HALF_UNIT = np.float32(0.5)
# Adding this rounds to an integer, which is then the last byte of the bits; 128 is the code's zero.
_INTEGER_UNIT = np.float32(1.5 * 2**23 + 128)
_ZERO = np.float32(0)


@inner_kernel
def _bits(x):
    return np.float32(x).view(np.int32)


@inner_kernel
def _as_half(x):
    """The float32 of the nearest float16, ties to even; beyond the largest one, that."""
    size = min(abs(x), _LARGEST_HALF)
    bits = _bits(size)
    # Numba makes 64 bits of every sum of integers, hence the types.
    bits = np.int32((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF)
    small = (size + _HALF_UNIT) - _HALF_UNIT
    half = small if size < _SMALLEST_NORMAL_HALF else np.int32(bits).view(np.float32)
    return -half if x < _ZERO else half


@inner_kernel
def _half_bits(half):
    """The 16 bits of a float32 that is a float16."""
    size = abs(half)
    normal = (_bits(size) >> 13) - ((127 - 15) << 10)
    small = _bits(size + _HALF_UNIT) - _bits(_HALF_UNIT)
    bits = small if size < _SMALLEST_NORMAL_HALF else normal
    return np.uint16(bits | (0x8000 if half < _ZERO else 0))


@inner_kernel
def _load_group(weights, block, group, x):
    """32 inputs of 16 rows into x [32, 16]; zero where there is none."""
    rows = min(weights.shape[0] - block * LANES, LANES)
    first = group * GROUP
    columns = min(weights.shape[1] - first, GROUP)
    if rows < LANES or columns < GROUP:
        for i in range(GROUP):
            for lane in range(LANES):
                x[i, lane] = _ZERO
    for lane in range(rows):
        row = weights[block * LANES + lane]
        for i in range(columns):
            x[i, lane] = widen(row[first + i])


@kernel
def quantize_int8_blocks(weights, codes, scales, begin, end):
    """Quantise blocks begin … end − 1 of 16 rows of weights [N, K], which is contiguous.

    Weights are float32, bits of bfloat16 (uint16) or of float16 (int16, finite ones only without
    an instruction for them). Returns the bits of the largest magnitude as float32, which are above
    those of all numbers for NaN.

    codes [blocks, groups · 8, 16, 4] uint8: weight / scale + 128; scales [blocks, groups, 16]
    uint16: bits of a float16. The scale makes the largest magnitude of a group ±127. Missing rows
    and inputs are zero. A scale that underflows to zero stands for weights below 4e-6: they become
    zero. One that overflows is the largest float16.
    """
    words = codes.view(np.uint32)  # [blocks, groups · 8, 16, 1]
    x = np.empty((GROUP, LANES), dtype=np.float32)
    largest, peaks = np.empty(LANES, dtype=np.float32), np.zeros(LANES, dtype=np.int32)
    top = np.float32(127)
    for block in range(begin, end):
        for group in range(scales.shape[1]):
            _load_group(weights, block, group, x)
            largest_of_group(x.ctypes.data, GROUP, largest.ctypes.data, peaks.ctypes.data)
            for lane in range(LANES):
                half = _as_half(abs(largest[lane]) / top)
                scales[block, group, lane] = _half_bits(half)
                largest[lane] = half if half > _ZERO else np.float32(np.inf)
            for step in range(GROUP // 4):
                for lane in range(LANES):
                    word = np.uint32(0)
                    for j in range(4):
                        code = max(min(x[4 * step + j, lane] / largest[lane], top), -top)
                        byte = _bits(code + _INTEGER_UNIT) & 0xFF
                        word = np.uint32(word | byte << 8 * j)
                    words[block, group * (GROUP // 4) + step, lane, 0] = word
    return peaks.max()


@kernel
def quantize_int4_blocks(weights, codes, scales, begin, end):
    """Quantise blocks begin … end − 1 of 16 rows of weights [N, K], which is contiguous.

    Weights are float32, bits of bfloat16 (uint16) or of float16 (int16, finite ones only without
    an instruction for them). Returns the bits of the largest magnitude as float32, which are above
    those of all numbers for NaN.

    codes [blocks, groups · 4, 16, 4] uint8: byte j of row r in step s holds the code of input
    8s + j in its low half and that of 8s + 4 + j in its high half; a weight is INT4_VALUES[code] ·
    scale. scales [blocks, groups, 16] uint16: bits of a float16, which may be negative. Missing
    rows and inputs are zero.
    """
    words = codes.view(np.uint32)  # [blocks, groups · 4, 16, 1]
    x = np.empty((GROUP, LANES), dtype=np.float32)
    largest, peaks = np.empty(LANES, dtype=np.float32), np.zeros(LANES, dtype=np.int32)
    for block in range(begin, end):
        for group in range(scales.shape[1]):
            _load_group(weights, block, group, x)
            largest_of_group(x.ctypes.data, GROUP, largest.ctypes.data, peaks.ctypes.data)
            steps = words[block, group * (GROUP // 8)]
            quantize_int4_group(
                x.ctypes.data, largest.ctypes.data, scales[block, group].ctypes.data,
                steps.ctypes.data,
            )  # fmt: skip
    return peaks.max()


@kernel
def quantize_int8(team, thread, threads, weights, codes, scales, peaks):
    """quantize_int8_blocks of all blocks, by the threads of a team; peaks [threads] int32."""
    begin, end = share(thread, threads, scales.shape[0])
    peaks[thread] = quantize_int8_blocks(weights, codes, scales, begin, end)


@kernel
def quantize_int4(team, thread, threads, weights, codes, scales, peaks):
    """quantize_int4_blocks of all blocks, by the threads of a team; peaks [threads] int32."""
    begin, end = share(thread, threads, scales.shape[0])
    peaks[thread] = quantize_int4_blocks(weights, codes, scales, begin, end)


@kernel
def largest_magnitude(team, thread, threads, values, peaks):
    """The largest magnitude of values [n], of the types of weights, by the threads of a team.

    peaks [threads] int32 become its bits as float32, above those of all numbers for NaN.
    """
    begin, end = share(thread, threads, values.shape[0])
    peak = np.int32(0)
    for i in range(begin, end):
        size = np.int32(_bits(widen(values[i])) & 0x7FFFFFFF)
        peak = max(peak, size)
    peaks[thread] = peak
