"""The header of a GGUF file: metadata, and where which tensor lies.

Our own bounded parser: the `gguf` package's reader makes several arrays for every string, which
takes seconds for a vocabulary of 65,536, and trusts every count of the file, so that a hostile one
keeps it busy without end. Nothing here is read, looped over or allocated before it was checked.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf.constants import GGUF_DEFAULT_ALIGNMENT, GGUFValueType, Keys

from server.checkpoints.checkpoint import (
    MAX_DIMENSION,
    CheckpointError,
    check_overlaps,
    map_file,
    tensor_error,
)
from server.checkpoints.ggml import DTYPES, stored_bytes, type_name
from server.regular_file import open_regular

MAGIC = b"GGUF"
VERSIONS = (2, 3)  # of little-endian files the same
MAX_HEADER_BYTES = 32 << 20  # a vocabulary of 65,536 takes 1.5 MB
MAX_TENSORS = 16_384  # the largest RWKV has some 2000
MAX_ENTRIES = 16_384
MAX_STRINGS = 1 << 20
MAX_NAME_BYTES = 256
MAX_ALIGNMENT = 1 << 20

Value = int | float | bool | str | list[bytes] | npt.NDArray[Any]

_NUMBERS = {
    GGUFValueType.UINT8: np.dtype("u1"),
    GGUFValueType.INT8: np.dtype("i1"),
    GGUFValueType.UINT16: np.dtype("<u2"),
    GGUFValueType.INT16: np.dtype("<i2"),
    GGUFValueType.UINT32: np.dtype("<u4"),
    GGUFValueType.INT32: np.dtype("<i4"),
    GGUFValueType.FLOAT32: np.dtype("<f4"),
    GGUFValueType.BOOL: np.dtype("u1"),
    GGUFValueType.UINT64: np.dtype("<u8"),
    GGUFValueType.INT64: np.dtype("<i8"),
    GGUFValueType.FLOAT64: np.dtype("<f8"),
}
_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies in the file. All of it was checked; the shape is in NumPy's order."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


@dataclass(frozen=True, eq=False)
class GgufHeader:
    """What a GGUF file says before its data."""

    path: Path
    mapped: mmap.mmap
    metadata: dict[str, Value]
    tensors: list[StoredTensor]

    def text(self, key: str) -> str | None:
        """A string of the metadata, None if there is none. Raises CheckpointError."""
        value = self.metadata.get(key)
        if value is None or isinstance(value, str):
            return value
        raise CheckpointError(f"{self.path}: {key} is not a string")

    def count(self, key: str) -> int | None:
        """A non-negative integer of the metadata, None if there is none. Raises CheckpointError."""
        value = self.metadata.get(key)
        if value is None or (type(value) is int and value >= 0):
            return value
        raise CheckpointError(f"{self.path}: {key} is not a non-negative integer")


def is_gguf(path: Path) -> bool:
    """Whether a file begins as GGUF does; no for what cannot be read."""
    try:
        with open_regular(path) as file:
            return file.read(4) == MAGIC
    except OSError:
        return False


def read_gguf_header(path: Path) -> GgufHeader:
    """Parse and check the header. Raises CheckpointError, one line."""
    cursor = _Cursor(path, map_file(path))
    if cursor.take(4) != MAGIC:
        raise CheckpointError(f"{path}: not a GGUF file")
    version = cursor.integer(4)
    if version in (v << 24 for v in VERSIONS):
        raise CheckpointError(f"{path}: a big-endian GGUF file; convert it to little-endian")
    if version not in VERSIONS:
        raise CheckpointError(f"{path}: GGUF version {version}, supported are 2 and 3")
    tensor_count, entry_count = cursor.integer(8), cursor.integer(8)
    if tensor_count > MAX_TENSORS or entry_count > MAX_ENTRIES:
        raise CheckpointError(f"{path}: {tensor_count} tensors and {entry_count} keys are too many")
    metadata: dict[str, Value] = {}
    for _ in range(entry_count):
        key = cursor.name("key")
        if key in metadata:
            raise CheckpointError(f"{path}: key {key} occurs twice")
        metadata[key] = cursor.value(key)
    if metadata.get("split.count", 1) not in (0, 1):
        raise CheckpointError(f"{path}: one part of a split GGUF; merge it with llama-gguf-split")
    alignment = metadata.get(Keys.General.ALIGNMENT, GGUF_DEFAULT_ALIGNMENT)
    if type(alignment) is not int or alignment not in (1 << n for n in range(21)):
        raise CheckpointError(f"{path}: {Keys.General.ALIGNMENT} is not a power of two")
    tensors = _read_tensors(cursor, tensor_count, alignment)
    return GgufHeader(path, cursor.mapped, metadata, tensors)


def _read_tensors(cursor: "_Cursor", count: int, alignment: int) -> list[StoredTensor]:
    found: dict[str, StoredTensor] = {}
    for _ in range(count):
        tensor = _read_tensor(cursor, alignment)
        if tensor.name in found:
            raise tensor_error(cursor.path, tensor.name, "occurs twice")
        found[tensor.name] = tensor
    start = -(-cursor.position // alignment) * alignment
    placed = []
    for tensor in found.values():
        begin = start + tensor.offset
        if begin + tensor.nbytes > len(cursor.mapped):
            why = "reaches past the end of the file (truncated?)"
            raise tensor_error(cursor.path, tensor.name, why)
        placed.append(StoredTensor(tensor.name, tensor.dtype, tensor.shape, begin, tensor.nbytes))
    check_overlaps(cursor.path, [(t.offset, t.offset + t.nbytes, t.name) for t in placed])
    return placed


def _read_tensor(cursor: "_Cursor", alignment: int) -> StoredTensor:
    """One entry of the list; its offset is still relative to the data."""
    path, name = cursor.path, cursor.name("tensor")
    dimensions = cursor.integer(4)
    if not 1 <= dimensions <= 4:
        raise tensor_error(path, name, f"{dimensions} dimensions, wants 1 to 4")
    shape = tuple(cursor.integer(8) for _ in range(dimensions))[::-1]
    number, offset = cursor.integer(4), cursor.integer(8)
    if not all(1 <= size <= MAX_DIMENSION for size in shape):
        raise tensor_error(path, name, f"impossible shape {list(shape)}")
    dtype = DTYPES.get(number)
    if dtype is None:
        raise tensor_error(path, name, f"type {type_name(number)} is not supported")
    nbytes = stored_bytes(dtype, shape)
    if nbytes is None:
        raise tensor_error(path, name, f"{dtype} has no rows of {shape[-1]}")
    if offset % alignment:
        raise tensor_error(path, name, f"its offset {offset} is not a multiple of {alignment}")
    return StoredTensor(name, dtype, shape, offset, nbytes)


class _Cursor:
    """A position in the header, which never leaves the file."""

    def __init__(self, path: Path, mapped: mmap.mmap) -> None:
        self.path = path
        self.mapped = mapped
        self.position = 0
        self._end = min(len(mapped), MAX_HEADER_BYTES)

    def advance(self, length: int) -> int:
        """Where the next `length` bytes begin; the position is then behind them."""
        begin = self.position
        if length > self._end - begin:
            if self._end < len(self.mapped) and begin + length <= len(self.mapped):
                raise CheckpointError(f"{self.path}: GGUF header beyond {MAX_HEADER_BYTES} bytes")
            raise CheckpointError(f"{self.path}: truncated: the file ends inside the GGUF header")
        self.position += length
        return begin

    def take(self, length: int) -> bytes:
        begin = self.advance(length)
        return self.mapped[begin : begin + length]

    def integer(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def name(self, what: str) -> str:
        length = self.integer(8)
        if not 1 <= length <= MAX_NAME_BYTES:
            raise CheckpointError(f"{self.path}: the name of a {what} has {length} bytes: damaged")
        try:
            return self.take(length).decode()
        except UnicodeDecodeError:
            raise CheckpointError(f"{self.path}: the name of a {what} is not UTF-8") from None

    def value(self, key: str) -> Value:
        kind = self.integer(4)
        if kind == GGUFValueType.STRING:
            return self.take(self.integer(8)).decode("utf-8", "replace")
        if kind != GGUFValueType.ARRAY:
            number = self._numbers(key, kind, 1)[0].item()
            return bool(number) if kind == GGUFValueType.BOOL else number
        kind, count = self.integer(4), self.integer(8)
        if kind == GGUFValueType.STRING:
            return self._strings(key, count)
        return self._numbers(key, kind, count)

    def _numbers(self, key: str, kind: int, count: int) -> npt.NDArray[Any]:
        dtype = _NUMBERS.get(kind)  # type: ignore[call-overload]  # an IntEnum is its number
        if dtype is None:
            raise CheckpointError(
                f"{self.path}: key {key}: values of unknown or nested type {kind}"
            )
        begin = self.advance(count * dtype.itemsize)
        return np.frombuffer(self.mapped, dtype, count, begin).copy()

    def _strings(self, key: str, count: int) -> list[bytes]:
        if count > MAX_STRINGS:
            raise CheckpointError(f"{self.path}: key {key}: {count} strings are too many")
        found = []
        for _ in range(count):
            (length,) = _LENGTH.unpack_from(self.mapped, self.advance(8))
            begin = self.advance(length)
            found.append(self.mapped[begin : begin + length])
        return found
