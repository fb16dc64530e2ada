"""y = W x with 8-bit weights in groups of 32, and activations quantised in the same groups."""

from server.kernels.isa import choose_tier
from server.kernels.jit import kernel
from server.kernels.simd import LANES
from server.kernels.simd_int8 import GROUP, make_int8_tile, quantize_group

_TIER = choose_tier()
_tile_4x1 = make_int8_tile(4, 1, _TIER)
_tile_2x8 = make_int8_tile(2, 8, _TIER)
_tile_2x4 = make_int8_tile(2, 4, _TIER)
_tile_2x2 = make_int8_tile(2, 2, _TIER)
_tile_1x8 = make_int8_tile(1, 8, _TIER)
_tile_1x1 = make_int8_tile(1, 1, _TIER)


@kernel
def quantize_row(values, codes, scales, sums):
    """Quantise one token's inputs: values [K] → codes [K] int8, scales and sums [K / 32].

    A sum is −128 times the sum of its group's codes. K is a multiple of 32.
    """
    for group in range(scales.shape[0]):
        quantize_group(
            values.ctypes.data + group * GROUP * 4,
            codes.ctypes.data + group * GROUP,
            scales.ctypes.data + group * 4,
            sums.ctypes.data + group * 4,
        )


@kernel
def linear_int8(w_codes, w_scales, codes, scales, sums, y, tokens, begin, end):
    """Row blocks begin … end − 1 of y[t] = W x[t] for t < tokens.

    w_codes [blocks, K / 4, 16, 4] uint8, w_scales [blocks, K / 32, 16] float16 bits; codes
    [≥ tokens, K], scales and sums [≥ tokens, K / 32]; y [≥ tokens, ≥ 16 · blocks] float32. Bitwise
    the same for a token whatever its neighbours and whatever the block range.
    """
    groups = w_scales.shape[1]
    block = begin
    while tokens == 1 and block + 4 <= end:
        w_at, s_at = _block(w_codes, w_scales, block)
        x_at, xs_at, xm_at, y_at = _token(codes, scales, sums, y, 0, block)
        _tile_4x1(groups, w_at, s_at, x_at, xs_at, xm_at, groups, y_at, y.shape[1])
        block += 4
    while tokens > 1 and block + 2 <= end:
        _two_blocks(w_codes, w_scales, codes, scales, sums, y, tokens, block)
        block += 2
    while block < end:
        _one_block(w_codes, w_scales, codes, scales, sums, y, tokens, block)
        block += 1


@kernel
def _block(w_codes, w_scales, block):
    """Addresses of a row block's codes and scales."""
    groups = w_scales.shape[1]
    codes_at = w_codes.ctypes.data + block * groups * GROUP * LANES
    return codes_at, w_scales.ctypes.data + block * groups * LANES * 2


@kernel
def _token(codes, scales, sums, y, t, block):
    """Addresses of a token's codes, scales and sums, and of its output for a row block."""
    groups = scales.shape[1]
    x_at = codes.ctypes.data + t * groups * GROUP
    y_at = y.ctypes.data + (t * y.shape[1] + block * LANES) * 4
    at = t * groups * 4
    return x_at, scales.ctypes.data + at, sums.ctypes.data + at, y_at


@kernel
def _two_blocks(w_codes, w_scales, codes, scales, sums, y, tokens, block):
    groups, stride = w_scales.shape[1], y.shape[1]
    w_at, s_at = _block(w_codes, w_scales, block)
    t = 0
    while t + 8 <= tokens:
        x_at, xs_at, xm_at, y_at = _token(codes, scales, sums, y, t, block)
        _tile_2x8(groups, w_at, s_at, x_at, xs_at, xm_at, groups, y_at, stride)
        t += 8
    if t + 4 <= tokens:
        x_at, xs_at, xm_at, y_at = _token(codes, scales, sums, y, t, block)
        _tile_2x4(groups, w_at, s_at, x_at, xs_at, xm_at, groups, y_at, stride)
        t += 4
    if t + 2 <= tokens:
        x_at, xs_at, xm_at, y_at = _token(codes, scales, sums, y, t, block)
        _tile_2x2(groups, w_at, s_at, x_at, xs_at, xm_at, groups, y_at, stride)
        t += 2
    if t < tokens:
        _last_token(w_codes, w_scales, codes, scales, sums, y, t, block)
        _last_token(w_codes, w_scales, codes, scales, sums, y, t, block + 1)


@kernel
def _one_block(w_codes, w_scales, codes, scales, sums, y, tokens, block):
    groups, stride = w_scales.shape[1], y.shape[1]
    w_at, s_at = _block(w_codes, w_scales, block)
    t = 0
    while t + 8 <= tokens:
        x_at, xs_at, xm_at, y_at = _token(codes, scales, sums, y, t, block)
        _tile_1x8(groups, w_at, s_at, x_at, xs_at, xm_at, groups, y_at, stride)
        t += 8
    while t < tokens:
        _last_token(w_codes, w_scales, codes, scales, sums, y, t, block)
        t += 1


@kernel
def _last_token(w_codes, w_scales, codes, scales, sums, y, t, block):
    groups = w_scales.shape[1]
    w_at, s_at = _block(w_codes, w_scales, block)
    x_at, xs_at, xm_at, y_at = _token(codes, scales, sums, y, t, block)
    _tile_1x1(groups, w_at, s_at, x_at, xs_at, xm_at, groups, y_at, y.shape[1])
