"""Looking for NaN and infinity in a checkpoint, within a bound of bytes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from server.checkpoints.checkpoint import Checkpoint, Tensor

MAX_BYTES = 4 << 30
"""Of a larger checkpoint every n-th piece is read, so that it is about this much."""
_PIECE_BYTES = 1 << 20
_EXPONENTS = {"float16": 0x7C00, "bfloat16": 0x7F80}
"""The bits that are all set in what is not finite."""

OnProgress = Callable[[int, int], None]
"""Called with bytes read and bytes to read."""


@dataclass(frozen=True)
class Values:
    """What was looked at and found."""

    checked: float
    """The share of the bytes that were read, 0 to 1."""
    not_finite: Mapping[str, int]
    """Tensor → how many of the values that were read are NaN or infinite, where there are any."""


def check_values(
    checkpoint: Checkpoint, on_progress: OnProgress, max_bytes: int = MAX_BYTES
) -> Values:
    """Count values that are not finite, a piece of rows at a time.

    Of float64 those count as well that are beyond float32. The first rows of every tensor are read.
    """
    tensors = [tensor for tensor in checkpoint.tensors.values() if tensor.is_float]
    total = sum(tensor.nbytes for tensor in tensors)
    step = -(-total // max_bytes) if total else 1
    read, found = 0, dict[str, int]()
    for tensor in tensors:
        for rows, size in _pieces(tensor, step):
            if bad := _count(tensor, rows):
                found[tensor.name] = found.get(tensor.name, 0) + bad
            read += size
            on_progress(read, total // step)
        tensor.forget()
    return Values(read / total if total else 1.0, found)


def _pieces(tensor: Tensor, step: int) -> Iterator[tuple[slice, int]]:
    """Rows and their bytes: every step-th piece."""
    if not tensor.shape or tensor.whole:
        yield slice(None), tensor.nbytes
        return
    count = tensor.shape[0]
    if not count:
        return
    size = tensor.nbytes // count
    rows = max(1, min(count, _PIECE_BYTES // max(size, 1)))
    for first in range(0, count, rows * step):
        last = min(first + rows, count)
        yield slice(first, last), (last - first) * size


def _count(tensor: Tensor, rows: slice) -> int:
    if tensor.is_plain and tensor.dtype in _EXPONENTS:
        mask = np.uint16(_EXPONENTS[tensor.dtype])
        bits = (tensor.data[rows] if tensor.data.ndim else tensor.data).view(np.uint16)
        return int(np.count_nonzero((bits & mask) == mask))
    values = tensor.to_float32(rows) if tensor.shape else tensor.to_float32()
    return int(values.size - np.count_nonzero(np.isfinite(values)))
