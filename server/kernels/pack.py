"""Weights as the matrix kernels read them: blocks of 16 rows, k by k, one vector per k."""

import numpy as np
import numpy.typing as npt

from server.kernels.simd import LANES
from server.kernels.simd_int8 import GROUP, OFFSET

_ALIGNMENT = 64
_BLOCKS_AT_ONCE = 16  # so that quantising needs little memory besides its result


def aligned_empty(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
    """An uninitialised C array that starts at a 64-byte boundary."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    buffer = np.empty(size + _ALIGNMENT, dtype=np.uint8)
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


def pack_int8(
    weights: npt.NDArray[np.float32],
    codes: npt.NDArray[np.uint8],
    scales: npt.NDArray[np.uint16],
) -> None:
    """Quantise [N, K] into codes [blocks, groups · 8, 16, 4] and scales [blocks, groups, 16].

    There are ⌈N/16⌉ blocks and ⌈K/32⌉ groups. The scale of 32 inputs of a row makes their largest
    magnitude ±127; it is rounded to float16 and given as bits. Missing rows and inputs are zero.
    """
    rows, columns = weights.shape
    blocks, groups = scales.shape[:2]
    for first in range(0, blocks, _BLOCKS_AT_ONCE):
        last = min(first + _BLOCKS_AT_ONCE, blocks)
        part = np.zeros(((last - first) * LANES, groups * GROUP), dtype=np.float32)
        source = weights[first * LANES : min(last * LANES, rows)]
        part[: len(source), :columns] = source
        grouped = part.reshape(-1, groups, GROUP)
        halves = (np.abs(grouped).max(axis=2) / 127).astype(np.float16)  # [rows, groups]
        # A scale that underflows to zero stands for weights below 4e-6: they become zero.
        divisors = np.where(halves == 0, np.inf, halves).astype(np.float32)
        rounded = np.rint(grouped / divisors[:, :, None])
        unsigned = (np.clip(rounded, -127, 127) + OFFSET).astype(np.uint8)
        packed = unsigned.reshape(last - first, LANES, groups * GROUP // 4, 4)
        codes[first:last] = packed.transpose(0, 2, 1, 3)
        bits = halves.view(np.uint16).reshape(last - first, LANES, groups)
        scales[first:last] = bits.transpose(0, 2, 1)
