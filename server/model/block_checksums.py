"""Checksums of packed arrays and of the blocks of their file, and how much of them a start reads.

All of a file is read when it is written, and again when it may have changed since it was found
whole. In between a start reads blocks at random: what damages a file afterwards, without a trace in
its size and time of modification, is found by one start or another.
"""

import contextlib
import hashlib
import itertools
import math
import os
import random
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from server.checkpoints.checkpoint import NUMPY_DTYPES, Checkpoint
from server.checkpoints.safetensors import header_bytes
from server.model.packing import Layout

Array = npt.NDArray[Any]

CHECKSUMS, BLOCKS = "checksums", "block_checksums"
"""The arrays of checksums in a packed file, its last two. One for each array before them, and one
for each block of all bytes between the header and BLOCKS, then one of the header and all those."""

BLOCK_BYTES = 1 << 18
SAMPLED_BLOCKS = 64
"""So many blocks a start reads at least: the first, the last, and one of each part of the file."""
SAMPLED_SECONDS = 0.3
"""For so long it goes on: what is in memory is read at gigabytes a second."""
_PIECE_BLOCKS = 8
_MAX_RECORDS = 256
_RECORDS = "checked"
"""The folder of records, beside that of packed weights."""

OnBytes = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""


def with_checksums(layout: Layout) -> Layout:
    """A layout and the two arrays of checksums."""
    layout = layout | {CHECKSUMS: ("uint32", (len(layout),))}
    size = sum(math.prod(shape) * NUMPY_DTYPES[dtype].itemsize for dtype, shape in layout.values())
    return layout | {BLOCKS: ("uint32", (-(-size // BLOCK_BYTES) + 1,))}


def checksum_of(array: Array) -> int:
    """CRC-32 of the bytes of an array."""
    return zlib.crc32(array.reshape(-1).view(np.uint8).data)


def checksums_of(arrays: Iterable[Array], threads: int) -> list[int]:
    """That of each array."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(checksum_of, arrays))


def fill_checksums(header: bytes, data: memoryview, arrays: Mapping[str, Array]) -> None:
    """Fill CHECKSUMS and BLOCKS among all arrays of a file; data are its bytes after the header."""
    threads = _threads()
    others = [array for name, array in arrays.items() if name not in (CHECKSUMS, BLOCKS)]
    arrays[CHECKSUMS][:] = checksums_of(others, threads)
    blocks = arrays[BLOCKS]
    data = data[: len(data) - blocks.nbytes]
    with ThreadPoolExecutor(threads) as pool:
        blocks[:-1] = list(pool.map(zlib.crc32, _blocks(data, range(len(blocks) - 1))))
    blocks[-1] = zlib.crc32(blocks[:-1].tobytes(), zlib.crc32(header))


def is_whole(found: Checkpoint, thorough: bool, on_bytes: OnBytes) -> bool:
    """Whether a packed file has its size and the checksums of the blocks that are looked at.

    All blocks where it has to be thorough, else a sample.
    """
    blocks = found.tensors[BLOCKS]
    mapped, table = blocks.mapped, blocks.data.copy()
    if mapped is None or len(mapped) != blocks.offset + table.nbytes:
        return False
    header = header_bytes(mapped)
    data = memoryview(mapped)[len(header) : blocks.offset]
    own = zlib.crc32(table[:-1].tobytes(), zlib.crc32(header))
    if own != table[-1] or len(table) - 1 != -(-len(data) // BLOCK_BYTES):
        return False
    on_bytes(0, len(data))
    order = range(len(table) - 1) if thorough else _sample(len(table) - 1)
    seconds = math.inf if thorough else SAMPLED_SECONDS
    return _have_checksums(data, table, order, seconds, on_bytes)


def _have_checksums(
    data: memoryview, table: Array, order: Sequence[int], seconds: float, on_bytes: OnBytes
) -> bool:
    threads, end = _threads(), time.monotonic() + seconds

    def is_right(numbers: Sequence[int]) -> bool:
        blocks = _blocks(data, numbers)
        return all(zlib.crc32(b) == table[n] for n, b in zip(numbers, blocks, strict=True))

    pieces = [order[n : n + _PIECE_BLOCKS] for n in range(0, len(order), _PIECE_BLOCKS)]
    done = 0
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, len(pieces), threads):
            if done >= SAMPLED_BLOCKS and time.monotonic() > end:
                break
            together = pieces[first : first + threads]
            if not all(pool.map(is_right, together)):
                return False
            done += sum(map(len, together))
            if seconds == math.inf:
                on_bytes(min(done * BLOCK_BYTES, len(data)), len(data))
    return True


def _sample(count: int) -> list[int]:
    """All blocks in random order, after the first, the last and one of each part of the file."""
    parts = np.linspace(0, count, SAMPLED_BLOCKS - 1).astype(int).tolist()
    first = {0, count - 1} | {
        random.randrange(begin, end) for begin, end in itertools.pairwise(parts) if begin < end
    }
    order = [n for n in first if n >= 0]
    rest = [n for n in range(count) if n not in first]
    random.shuffle(rest)
    return order + rest


def _blocks(data: memoryview, numbers: Iterable[int]) -> Iterator[memoryview]:
    return (data[n * BLOCK_BYTES : (n + 1) * BLOCK_BYTES] for n in numbers)


def _threads() -> int:
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), 8)
    return min(os.cpu_count() or 1, 8)


class CheckRecord:
    """Remembers, in a folder beside the weights, that a file was whole when it last changed."""

    def __init__(self, folder: Path, found: Checkpoint) -> None:
        """Of the file as it is now. Raises OSError."""
        content = found.tensors[BLOCKS].data.tobytes()
        name = hashlib.sha256(str(found.path.resolve()).encode() + b"\0" + content).hexdigest()
        self._record = folder.with_name(_RECORDS) / name[:32]
        status = found.path.stat()
        self._size, self._modified = status.st_size, status.st_mtime_ns

    def holds(self) -> bool:
        """Whether the file has the size and time of modification of the last check of all of it."""
        try:
            size, modified = self._record.read_text().split()
        except (OSError, ValueError):
            return False
        return size == str(self._size) and unchanged(modified, self._modified)

    def write(self) -> None:
        """Remember it. What cannot be written only makes the next start read all of the file."""
        with contextlib.suppress(OSError):
            folder = self._record.parent
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._record.write_text(f"{self._size} {self._modified}\n")
            records = sorted(folder.iterdir(), key=lambda record: record.stat().st_mtime_ns)
            for record in records[:-_MAX_RECORDS]:
                record.unlink(missing_ok=True)


def unchanged(recorded: str, modified: int) -> bool:
    """Whether a file of this time of modification (ns) is the one that was recorded.

    Archives and container images keep whole seconds only.
    """
    second = 1_000_000_000
    if not recorded.isdecimal() or len(recorded) > 20:
        return False
    return int(recorded) == modified or (
        modified % second == 0 and int(recorded) // second == modified // second
    )
