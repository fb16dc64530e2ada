"""y = W x with 8-bit weights in groups of 32, and activations quantised in the same groups."""

from server.kernels.isa import choose_tier
from server.kernels.jit import inner_kernel, kernel
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
    groups, stride = w_scales.shape[1], y.shape[1]
    block = begin
    while tokens == 1 and block + 4 <= end:
        at_token = _token(codes, scales, sums, y, 0, block)
        _tile_4x1(groups, *_block(w_codes, w_scales, block), *at_token, stride)
        block += 4
    while tokens > 1 and block + 2 <= end:
        _two_blocks(w_codes, w_scales, codes, scales, sums, y, tokens, block)
        block += 2
    while block < end:
        _one_block(w_codes, w_scales, codes, scales, sums, y, 0, tokens, block)
        block += 1


@inner_kernel
def _block(w_codes, w_scales, block):
    """Addresses of a row block's codes and scales."""
    groups = w_scales.shape[1]
    codes_at = w_codes.ctypes.data + block * groups * GROUP * LANES
    return codes_at, w_scales.ctypes.data + block * groups * LANES * 2


@inner_kernel
def _token(codes, scales, sums, y, t, block):
    """Addresses of a token's codes, scales and sums, and of its output for a row block."""
    groups = scales.shape[1]
    x_at = codes.ctypes.data + t * groups * GROUP
    y_at = y.ctypes.data + (t * y.shape[1] + block * LANES) * 4
    at = t * groups * 4
    return x_at, scales.ctypes.data + at, sums.ctypes.data + at, y_at


@inner_kernel
def _two_blocks(w_codes, w_scales, codes, scales, sums, y, tokens, block):
    groups, stride = w_scales.shape[1], y.shape[1]
    at_block = _block(w_codes, w_scales, block)
    t = 0
    while t + 8 <= tokens:
        _tile_2x8(groups, *at_block, *_token(codes, scales, sums, y, t, block), stride)
        t += 8
    if t + 4 <= tokens:
        _tile_2x4(groups, *at_block, *_token(codes, scales, sums, y, t, block), stride)
        t += 4
    if t + 2 <= tokens:
        _tile_2x2(groups, *at_block, *_token(codes, scales, sums, y, t, block), stride)
        t += 2
    if t < tokens:
        _one_block(w_codes, w_scales, codes, scales, sums, y, t, tokens, block)
        _one_block(w_codes, w_scales, codes, scales, sums, y, t, tokens, block + 1)


@inner_kernel
def _one_block(w_codes, w_scales, codes, scales, sums, y, t, tokens, block):
    """Tokens t … tokens − 1."""
    groups, stride = w_scales.shape[1], y.shape[1]
    at_block = _block(w_codes, w_scales, block)
    while t + 8 <= tokens:
        _tile_1x8(groups, *at_block, *_token(codes, scales, sums, y, t, block), stride)
        t += 8
    while t < tokens:
        _tile_1x1(groups, *at_block, *_token(codes, scales, sums, y, t, block), stride)
        t += 1
