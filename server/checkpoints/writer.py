"""Writing safetensors: streamed, atomic, and the same bytes for the same tensors."""

import json
from collections.abc import Callable, Iterable, Mapping
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from server.checkpoints.checkpoint import NUMPY_DTYPES
from server.checkpoints.safetensors import DTYPES
from server.temporary_files import replacing

Array = npt.NDArray[np.generic]
Progress = Callable[[int, int], None]
"""Called with (bytes written, bytes in all) after each tensor or piece of one."""

ALIGNMENT = 64  # a cache line: what the mapped data start on
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def write_safetensors(
    path: Path,
    tensors: Mapping[str, tuple[str, Array]],
    metadata: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> None:
    """Write name → (dtype, array); a bfloat16 array is its bits as uint16.

    Wider dtypes come first, so that every tensor lies aligned. Raises OSError, or ValueError when
    an array is not of its dtype.
    """
    ordered = sorted(tensors, key=lambda name: -NUMPY_DTYPES[tensors[name][0]].itemsize)
    layout = {name: (tensors[name][0], tensors[name][1].shape) for name in ordered}
    stream_safetensors(path, layout, (tensors[name][1] for name in ordered), metadata, progress)


def stream_safetensors(
    path: Path,
    layout: Mapping[str, tuple[str, tuple[int, ...]]],
    arrays: Iterable[Array],
    metadata: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> None:
    """Write arrays in the order of layout (name → dtype, shape), holding one at a time.

    The file appears under its name when it is whole. Raises OSError, or ValueError when the arrays
    are not those of the layout.
    """
    pieces = zip(layout, ((array,) for array in arrays), strict=True)
    stream_pieces(path, layout, pieces, metadata, progress)


def stream_pieces(
    path: Path,
    layout: Mapping[str, tuple[str, tuple[int, ...]]],
    pieces: Iterable[tuple[str, Iterable[Array]]],
    metadata: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> None:
    """The same of (name, arrays of some rows each) in the order of layout.

    A tensor need never be in memory as a whole. Raises as stream_safetensors does.
    """
    header, total = safetensors_header(layout, metadata or {})
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(header)
        written = 0
        for (name, (dtype, shape)), (given, arrays) in zip(layout.items(), pieces, strict=True):
            rows = 0
            for array in arrays:
                if array.dtype != NUMPY_DTYPES[dtype] or array.shape[1:] != shape[1:]:
                    raise ValueError(f"{name}: {array.dtype} {array.shape}, not {dtype} {shape}")
                file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
                rows += len(array) if shape else 1
                written += array.nbytes
                if progress:
                    progress(written, total)
            if given != name or rows != (shape[0] if shape else 1):
                raise ValueError(f"{name}: {rows} rows of {given}, not {dtype} {shape}")


def safetensors_header(
    layout: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str]
) -> tuple[bytes, int]:
    """What a file begins with (length and JSON, padded), and how many bytes of data follow."""
    entries: dict[str, object] = {}
    if metadata:
        entries["__metadata__"] = dict(sorted(metadata.items()))
    offset = 0
    for name, (dtype, shape) in layout.items():
        end = offset + prod(shape) * NUMPY_DTYPES[dtype].itemsize
        entries[name] = {
            "dtype": _NAMES[dtype],
            "shape": list(shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text, offset
