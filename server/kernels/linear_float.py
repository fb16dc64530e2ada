"""y = W x with float32 or bfloat16 weights, packed in blocks of 16 rows (see pack.py)."""

from server.kernels.jit import inner_kernel, kernel
from server.kernels.simd import LANES, make_tile

_tile_2x8 = make_tile(2, 8)
_tile_2x4 = make_tile(2, 4)
_tile_2x2 = make_tile(2, 2)
_tile_2x1 = make_tile(2, 1)
_tile_1x8 = make_tile(1, 8)
_tile_1x1 = make_tile(1, 1)


@kernel
def linear_float(w, x, y, tokens, begin, end):
    """Row blocks begin … end − 1 of y[t] = W x[t] for t < tokens.

    w [blocks, K, 16] float32 or bfloat16 bits, x [≥ tokens, ≥ K] and y [≥ tokens, ≥ 16 · blocks]
    float32. Bitwise the same for a token whatever its neighbours and whatever the block range.
    """
    k = w.shape[1]
    w_stride = k * LANES * w.itemsize
    x_stride, y_stride = x.shape[1], y.shape[1]
    x_at, y_at = x.ctypes.data, y.ctypes.data
    block = begin
    while block + 2 <= end:
        w_at = w.ctypes.data + block * w_stride
        _two_blocks(w, w_at, x_at, x_stride, y_at + block * LANES * 4, y_stride, tokens)
        block += 2
    if block < end:
        w_at = w.ctypes.data + block * w_stride
        _one_block(w, w_at, x_at, x_stride, y_at + block * LANES * 4, y_stride, tokens)


@inner_kernel
def _two_blocks(w, w_at, x_at, x_stride, y_at, y_stride, tokens):
    x_step, y_step = x_stride * 4, y_stride * 4
    t = 0
    while t + 8 <= tokens:
        _tile_2x8(w, w_at, x_at + t * x_step, x_stride, y_at + t * y_step, y_stride)
        t += 8
    if t + 4 <= tokens:
        _tile_2x4(w, w_at, x_at + t * x_step, x_stride, y_at + t * y_step, y_stride)
        t += 4
    if t + 2 <= tokens:
        _tile_2x2(w, w_at, x_at + t * x_step, x_stride, y_at + t * y_step, y_stride)
        t += 2
    if t < tokens:
        _tile_2x1(w, w_at, x_at + t * x_step, x_stride, y_at + t * y_step, y_stride)


@inner_kernel
def _one_block(w, w_at, x_at, x_stride, y_at, y_stride, tokens):
    x_step, y_step = x_stride * 4, y_stride * 4
    t = 0
    while t + 8 <= tokens:
        _tile_1x8(w, w_at, x_at + t * x_step, x_stride, y_at + t * y_step, y_stride)
        t += 8
    while t < tokens:
        _tile_1x1(w, w_at, x_at + t * x_step, x_stride, y_at + t * y_step, y_stride)
        t += 1
