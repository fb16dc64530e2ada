"""A checkpoint as named arrays over a memory-mapped file."""

import itertools
import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from server.regular_file import open_regular

MAX_DIMENSIONS = 8
MAX_DIMENSION = 1 << 48

NUMPY_DTYPES: dict[str, np.dtype[np.generic]] = {
    "float64": np.dtype("<f8"),
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),  # NumPy has no bfloat16: these are its bits
    "int64": np.dtype("<i8"),
    "int32": np.dtype("<i4"),
    "int16": np.dtype("<i2"),
    "int8": np.dtype("i1"),
    "uint64": np.dtype("<u8"),
    "uint32": np.dtype("<u4"),
    "uint16": np.dtype("<u2"),
    "uint8": np.dtype("u1"),
    "bool": np.dtype("u1"),  # as bytes: a hostile file may hold other values than 0 and 1
}
"""How each dtype of a checkpoint is held in memory."""

PACKED_KEY, PACKED = "format", "rwkv-server packed"
"""Metadata of a packed model: its tensors are arrays for the kernels."""
EPSILON_KEY = "group_norm_epsilon"
"""In the metadata of a checkpoint whose epsilon is not the official one."""

FLOAT_DTYPES = frozenset({"float64", "float32", "float16", "bfloat16"})

Decode = Callable[[npt.NDArray[np.generic]], npt.NDArray[Any]]


class CheckpointError(ValueError):
    """One line that names the file (and the tensor), what is wrong and what to do."""

    def __init__(self, message: str) -> None:
        # Names come from untrusted files: they may hold line breaks, escapes, or megabytes.
        printable = "".join(c if c.isprintable() else "�" for c in message[:600])
        super().__init__(printable if len(message) <= 600 else printable + "…")


@dataclass(frozen=True, eq=False)
class Tensor:
    """One named array of a checkpoint, not yet read from disk."""

    name: str
    dtype: str
    """A key of NUMPY_DTYPES, or the name of a type that needs `decode`."""
    shape: tuple[int, ...]
    data: npt.NDArray[np.generic]
    """As stored, read-only, unaligned if the file is. [*shape], or what `decode` takes, whose first
    dimension is that of the shape unless it takes all; bfloat16 is uint16 bits."""
    mapped: mmap.mmap | None = None
    offset: int = 0
    """Where in which mapping the data begin; None if they are not of a file."""
    decode: Decode | None = None
    """From some rows of the data to their values, where these are not stored as they are."""
    whole: bool = False
    """Whether `decode` takes all data at once, and rows are taken of what it returns."""

    @property
    def nbytes(self) -> int:
        """Size in the file, bytes."""
        return self.data.nbytes

    @property
    def is_plain(self) -> bool:
        """Whether the data are the values, in a dtype of NUMPY_DTYPES."""
        return self.decode is None

    @property
    def is_float(self) -> bool:
        """Whether it holds real numbers."""
        return self.decode is not None or self.dtype in FLOAT_DTYPES

    def to_float32(self, rows: slice = slice(None)) -> npt.NDArray[np.float32]:
        """[rows, …] C-contiguous, aligned; a view of the file where that is already float32."""
        values: npt.NDArray[Any]
        if self.decode is not None and self.whole:
            values = self.decode(self.data)[rows]
        else:
            values = self.data[rows] if self.data.ndim else self.data
            if self.decode is not None:
                values = self.decode(values)
            elif self.dtype == "bfloat16":
                values = bfloat16_to_float32(values.view(np.uint16))
        with np.errstate(over="ignore"):  # a float64 beyond the range becomes inf
            return np.require(values.astype(np.float32, copy=False), None, ["C", "A"])

    def forget(self) -> None:
        """Let go of the memory that holds the data; they are read from the file again if needed."""
        if self.mapped is not None and self.nbytes and hasattr(self.mapped, "madvise"):
            begin = self.offset - self.offset % mmap.PAGESIZE
            self.mapped.madvise(mmap.MADV_DONTNEED, begin, self.offset + self.nbytes - begin)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The tensors of a file or folder. Mappings to files live as long as any tensor's data."""

    path: Path
    metadata: dict[str, str]
    tensors: Mapping[str, Tensor]
    changes: str = ""
    """Digest of the adapters that were merged; empty without any."""
    parts: tuple[Path, ...] = ()
    """The files of a folder that it was read from."""
    container: str = ""
    """The format of the files that hold it, a key of reader.FORMATS; empty where an exporter gave
    the names, which say all, and for what is of no file."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that it was read from."""
        return self.parts or (self.path,)

    @property
    def modified_ns(self) -> int:
        """When the newest of its files was modified, ns since 1970. Raises OSError."""
        return max(file.stat().st_mtime_ns for file in self.files)


def bfloat16_to_float32(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """Exact: the bits become the upper half of a float32."""
    wide = bits.astype(np.uint32, order="C")
    wide <<= np.uint32(16)
    return wide.view(np.float32)


def float32_to_bfloat16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """The bits of the nearest bfloat16, ties to even; NaN stays NaN."""
    bits = values.view(np.uint32)
    rounded = bits >> np.uint32(16)
    rounded &= np.uint32(1)
    rounded += np.uint32(0x7FFF)
    rounded += bits
    rounded >>= np.uint32(16)
    nearest = rounded.astype(np.uint16)
    is_nan = np.isnan(values)
    if is_nan.any():  # rounding could carry a NaN's mantissa into infinity, or past the sign
        return np.where(
            is_nan, (bits >> np.uint32(16) | np.uint32(0x40)).astype(np.uint16), nearest
        )
    return nearest


def map_file(path: Path) -> mmap.mmap:
    """Map a file read-only. Raises CheckpointError when it cannot be opened or is empty."""
    try:
        with open_regular(path) as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from None
    except ValueError:
        raise CheckpointError(f"{path}: the file is empty") from None


def check_shape(shape: object) -> tuple[int, ...] | None:
    """The shape as a tuple if it is a sane one: few dimensions, each a non-negative int."""
    if not isinstance(shape, list | tuple) or len(shape) > MAX_DIMENSIONS:
        return None
    if all(type(n) is int and 0 <= n <= MAX_DIMENSION for n in shape):
        return tuple(shape)
    return None


def view_tensor(
    mapped: mmap.mmap | bytes, name: str, dtype: str, shape: tuple[int, ...], offset: int
) -> Tensor:
    """A tensor over bytes from `offset`, which the caller has checked to lie in the file."""
    numpy_dtype = NUMPY_DTYPES[dtype]
    data: npt.NDArray[np.generic]
    if prod(shape) == 0:  # nothing to map, and NumPy minds an offset at the very end
        data = np.empty(shape, numpy_dtype)
    else:
        data = np.ndarray(shape, numpy_dtype, buffer=mapped, offset=offset)
    return Tensor(
        name, dtype, shape, data, mapped if isinstance(mapped, mmap.mmap) else None, offset
    )


def check_overlaps(path: Path, spans: list[tuple[int, int, str]]) -> None:
    """Refuse tensors that share bytes, given as (begin, end, name); sorts the list."""
    spans.sort()
    for (_, end, first), (begin, _, second) in itertools.pairwise(spans):
        if begin < end:
            raise tensor_error(path, second, f"overlaps tensor {first}")


def tensor_error(path: Path, name: str, why: str) -> CheckpointError:
    """The error that names the file and the tensor."""
    return CheckpointError(f"{path}: tensor {name[:120]}: {why}")
