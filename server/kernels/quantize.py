"""Quantising weights to 8 or 4 bits, packed as the matrix kernels read them.

A group, 32 consecutive inputs of a row, shares a float16 scale. The groups of 16 rows are computed
side by side, a row a lane, so that LLVM makes vector code of the loops over lanes and no sum
crosses them: what becomes of a row depends on nothing but the row, not even on the CPU.
"""

import numpy as np

from server.kernels.jit import inner_kernel, kernel
from server.kernels.simd import LANES
from server.kernels.team import share

GROUP = 32
"""Consecutive inputs that share a scale."""

INT4_VALUES = (-127, -96, -74, -58, -44, -32, -20, -10, 0, 10, 21, 33, 46, 61, 79, 102)
"""What a 4-bit code stands for, in units of its scale.

Fitted by Lloyd's algorithm to groups with their best scales, half of them normally distributed and
half with slightly heavier tails; zero is kept exact. One side reaches further, and the sign of the
scale chooses which. The squared error of normal weights is 0.82 of what equal steps give.
"""

# What the largest magnitude of a group, with its sign, is tried to become. Beside −127, which is
# rounding without a search, those that together come nearest to a fine search: to 0.7 % of the
# squared error of normal weights.
_TARGETS = np.array([-140, -134, -127, -120, -100, 98, 104, 110], dtype=np.float32)

_VALUES = np.array(INT4_VALUES, dtype=np.float32)
_LIMITS = (_VALUES[1:] + _VALUES[:-1]) / np.float32(2)  # [15] where the nearest value changes

_LARGEST_HALF = np.float32(65504)
_SMALLEST_NORMAL_HALF = np.float32(2**-14)
# Adding this rounds a small float32 to a multiple of 2⁻²⁴, the smallest float16.
_HALF_UNIT = np.float32(0.5)
# Adding this rounds to an integer, which is then the last byte of the bits; 128 is the code's zero.
_INTEGER_UNIT = np.float32(1.5 * 2**23 + 128)
_ZERO, _ONE, _TWO = np.float32(0), np.float32(1), np.float32(2)


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
def _nearest_value(x):
    value = _VALUES[0]
    for i in range(15):
        value = _VALUES[i + 1] if x > _LIMITS[i] else value
    return value


@inner_kernel
def _nearest_code(x):
    code = np.uint32(0)
    for i in range(15):
        code = np.uint32(i + 1) if x > _LIMITS[i] else code
    return code


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
            x[i, lane] = row[first + i]


@inner_kernel
def _largest(x, largest):
    """Of each lane of x [32, 16] the value of largest magnitude, with its sign."""
    for lane in range(LANES):
        largest[lane] = _ZERO
    for i in range(GROUP):
        for lane in range(LANES):
            value = x[i, lane]
            largest[lane] = value if abs(value) > abs(largest[lane]) else largest[lane]


@kernel
def quantize_int8_blocks(weights, codes, scales, begin, end):
    """Quantise blocks begin … end − 1 of 16 rows of weights [N, K] float32, which is contiguous.

    codes [blocks, groups · 8, 16, 4] uint8: weight / scale + 128; scales [blocks, groups, 16]
    uint16: bits of a float16. The scale makes the largest magnitude of a group ±127. Missing rows
    and inputs are zero. A scale that underflows to zero stands for weights below 4e-6: they become
    zero. One that overflows is the largest float16.
    """
    words = codes.view(np.uint32)  # [blocks, groups · 8, 16, 1]
    x = np.empty((GROUP, LANES), dtype=np.float32)
    largest = np.empty(LANES, dtype=np.float32)
    top = np.float32(127)
    for block in range(begin, end):
        for group in range(scales.shape[1]):
            _load_group(weights, block, group, x)
            _largest(x, largest)
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


@inner_kernel
def _normalize(x, largest):
    """Divide the lanes of x by their largest value: sums cannot overflow, nor squares vanish."""
    for lane in range(LANES):
        largest[lane] = largest[lane] if largest[lane] != _ZERO else _ONE
    for i in range(GROUP):
        for lane in range(LANES):
            x[i, lane] /= largest[lane]


@inner_kernel
def _inverse(largest, scale):
    """What to multiply a normalised weight with to have it in units of the scale."""
    return largest / scale if scale != _ZERO else _ZERO


@inner_kernel
def _search(x, largest, scratch, scales):
    """Of each lane of normalised x [32, 16] the scale of least squared error.

    Each target gives a scale and so codes; the best scale for these codes is known by least
    squares. All scales are float16 numbers when they are compared.
    """
    inverse, products, squares, gains = scratch[0], scratch[1], scratch[2], scratch[3]
    for lane in range(LANES):
        scales[lane] = gains[lane] = _ZERO
    for target in _TARGETS:
        for lane in range(LANES):
            inverse[lane] = _inverse(largest[lane], _as_half(largest[lane] / target))
            products[lane] = squares[lane] = _ZERO
        for i in range(GROUP):
            for lane in range(LANES):
                value = _nearest_value(x[i, lane] * inverse[lane])
                products[lane] += value * x[i, lane]
                squares[lane] += value * value
        for lane in range(LANES):
            best = products[lane] / squares[lane] if squares[lane] > _ZERO else _ZERO
            scale = _as_half(largest[lane] * best)
            ratio = scale / largest[lane]
            # By how much the error is less than that of all zeros.
            gain = ratio * (_TWO * products[lane] - ratio * squares[lane])
            is_better = gain > gains[lane]
            gains[lane] = gain if is_better else gains[lane]
            scales[lane] = scale if is_better else scales[lane]


@kernel
def quantize_int4_blocks(weights, codes, scales, begin, end):
    """Quantise blocks begin … end − 1 of 16 rows of weights [N, K] float32, which is contiguous.

    codes [blocks, groups · 4, 16, 4] uint8: byte j of row r in step s holds the code of input
    8s + j in its low half and that of 8s + 4 + j in its high half; a weight is INT4_VALUES[code] ·
    scale. scales [blocks, groups, 16] uint16: bits of a float16, which may be negative. Missing
    rows and inputs are zero.
    """
    words = codes.view(np.uint32)  # [blocks, groups · 4, 16, 1]
    x = np.empty((GROUP, LANES), dtype=np.float32)
    scratch = np.empty((4, LANES), dtype=np.float32)
    largest, found = np.empty(LANES, dtype=np.float32), np.empty(LANES, dtype=np.float32)
    for block in range(begin, end):
        for group in range(scales.shape[1]):
            _load_group(weights, block, group, x)
            _largest(x, largest)
            _normalize(x, largest)
            _search(x, largest, scratch, found)
            for lane in range(LANES):
                scales[block, group, lane] = _half_bits(found[lane])
                found[lane] = _inverse(largest[lane], found[lane])
            for step in range(GROUP // 8):
                for lane in range(LANES):
                    word = np.uint32(0)
                    for j in range(8):
                        code = _nearest_code(x[8 * step + j, lane] * found[lane])
                        word = np.uint32(word | code << 8 * (j % 4) + 4 * (j // 4))
                    words[block, group * (GROUP // 8) + step, lane, 0] = word


@kernel
def quantize_int8(team, thread, threads, weights, codes, scales):
    """quantize_int8_blocks of all blocks, by the threads of a team."""
    begin, end = share(thread, threads, scales.shape[0])
    quantize_int8_blocks(weights, codes, scales, begin, end)


@kernel
def quantize_int4(team, thread, threads, weights, codes, scales):
    """quantize_int4_blocks of all blocks, by the threads of a team."""
    begin, end = share(thread, threads, scales.shape[0])
    quantize_int4_blocks(weights, codes, scales, begin, end)
