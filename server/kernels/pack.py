"""Weights as the matrix kernels read them: blocks of 16 rows, k by k, one vector per k."""

import numpy as np
import numpy.typing as npt

from server.kernels.simd import LANES

_ALIGNMENT = 64


def aligned_zeros(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
    """A C array of zeros that starts at a 64-byte boundary."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    buffer = np.zeros(size + _ALIGNMENT, dtype=np.uint8)
    start = -buffer.ctypes.data % _ALIGNMENT
    return buffer[start : start + size].view(dtype).reshape(shape)


def padded(rows: int, multiple: int = LANES) -> int:
    """The next multiple: how wide a buffer for `rows` outputs (or, of 32, inputs) must be."""
    return -(-rows // multiple) * multiple


def pack_rows(weights: npt.NDArray[np.generic], out: npt.NDArray[np.generic]) -> None:
    """Pack [N, K] into out [⌈N/16⌉, K, 16] of the same dtype; missing rows are zero."""
    rows, columns = weights.shape
    whole = rows // LANES
    blocks = weights[: whole * LANES].reshape(whole, LANES, columns)
    out[:whole] = blocks.transpose(0, 2, 1)
    if rows % LANES:
        out[whole] = 0
        out[whole, :, : rows % LANES] = weights[whole * LANES :].T
