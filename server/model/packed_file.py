"""Packed weights on disk: written once, then mapped by every worker, which share its pages.

The file is safetensors with a checksum of every array. It is named by what it was made of and how;
whatever is not exactly as expected is made anew.
"""

import contextlib
import errno
import fcntl
import hashlib
import logging
import mmap
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from server.checkpoints.checkpoint import NUMPY_DTYPES, Checkpoint, CheckpointError
from server.checkpoints.safetensors import read_safetensors
from server.checkpoints.writer import safetensors_header
from server.model.packing import Layout

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]
CHECKSUMS = "checksums"
_SAMPLE_BYTES = 4096
_SUFFIX, _PARTIAL = ".safetensors", ".partial"


def fingerprint(checkpoint: Checkpoint, *more: str) -> str:
    """Names what a checkpoint holds: its tensors' types and shapes, and samples of their bytes.

    Reading all of it would take as long as packing it. What samples cannot tell, see unchanged().
    """
    digest = hashlib.sha256()
    for part in (checkpoint.changes, *more):
        digest.update(part.encode() + b"\0")
    for name, tensor in sorted(checkpoint.tensors.items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tensor.shape}\0".encode())
        flat = tensor.data.reshape(-1).view(np.uint8)
        for begin in (0, len(flat) // 2):
            digest.update(flat[begin : begin + _SAMPLE_BYTES].tobytes())
    return digest.hexdigest()[:32]


class PackedFile:
    """The packed weights of one checkpoint in a folder of such files."""

    def __init__(self, folder: Path, name: str, source: Checkpoint, layout: Layout) -> None:
        self._path = folder / f"{name}{_SUFFIX}"
        self._source = source
        self._layout = layout

    def read(self, on_array: Callable[[], None]) -> dict[str, Array] | None:
        """The arrays, mapped read-only; None if there is no whole and current file of them."""
        if not self._path.exists():
            return None
        try:
            found = read_safetensors(self._path)
        except CheckpointError as error:
            log.warning("packing the weights again: %s", error)
            return None
        if not self._is_current(found):
            log.info("packing the weights again: the checkpoint has changed")
            return None
        for name, checksum in zip(self._layout, found.tensors[CHECKSUMS].data, strict=True):
            if checksum_of(found.tensors[name].data) != checksum:
                log.warning("packing the weights again: %s is damaged", self._path)
                return None
            on_array()
        with contextlib.suppress(OSError):
            os.utime(self._path)  # used now: the last to be removed
        return {name: found.tensors[name].data for name in self._layout}

    def _is_current(self, found: Checkpoint) -> bool:
        expected = {**self._layout, CHECKSUMS: ("uint32", (len(self._layout),))}
        layout = {name: (tensor.dtype, tensor.shape) for name, tensor in found.tensors.items()}
        return layout == expected and unchanged(
            found.metadata.get("modified", ""), self._source.modified_ns
        )

    def write(self, limit: int, fill: Callable[[dict[str, Array]], None]) -> None:
        """Make the file of what `fill` makes of arrays of zeros, unless another process just has.

        Other files of the folder are removed, the longest unused first, until all are within
        `limit` bytes. Raises OSError when there is no room for this one.
        """
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        layout = {**self._layout, CHECKSUMS: ("uint32", (len(self._layout),))}
        modified = str(self._source.modified_ns)
        header, size = safetensors_header(layout, {"modified": modified})
        partial = self._path.with_suffix(_PARTIAL)
        before = self._identity()
        if len(header) + size > limit:
            raise OSError(errno.EFBIG, "larger than engine.weights_cache_bytes", str(self._path))
        with _locked(partial) as file:
            if self._identity() != before:
                partial.unlink()
                return
            _make_room(self._path.parent, limit - len(header) - size)
            try:
                fill_file(file, header, size, layout, fill)
            except BaseException:
                partial.unlink()
                raise
            # Not synced to the disk: what a power failure leaves does not have its checksums.
            partial.replace(self._path)

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_ctime_ns


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


def fill_file(
    file: int, header: bytes, size: int, layout: Layout, fill: Callable[[dict[str, Array]], None]
) -> None:
    """Make an open file of a header and what `fill` makes of a layout's arrays, which are zero.

    CHECKSUMS is one of them. Raises OSError before anything is filled when there is no room.
    """
    os.ftruncate(file, 0)
    _reserve(file, len(header) + size)
    mapped = mmap.mmap(file, len(header) + size)
    mapped[: len(header)] = header
    arrays = _arrays(mapped, len(header), layout)
    checksums = arrays.pop(CHECKSUMS)
    fill(arrays)
    checksums[:] = [checksum_of(array) for array in arrays.values()]


def _arrays(mapped: mmap.mmap, start: int, layout: Layout) -> dict[str, Array]:
    arrays = {}
    for name, (dtype, shape) in layout.items():
        arrays[name] = np.ndarray(shape, NUMPY_DTYPES[dtype], buffer=mapped, offset=start)
        start += arrays[name].nbytes
    return arrays


def _reserve(file: int, size: int) -> None:
    """Take the space before it is mapped: a full disk is then an error, not a signal."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.ftruncate(file, size)


def checksum_of(array: Array) -> int:
    """CRC-32 of the bytes of an array."""
    return zlib.crc32(array.reshape(-1).view(np.uint8).data)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """An open file that no other process has locked, and that still is at its path."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(path, file):
                yield file
                return
        finally:
            os.close(file)


def _is_at(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except OSError:
        return False


def _make_room(folder: Path, room: int) -> None:
    """Remove what is longest unused until the files take up no more than `room` bytes.

    What killed processes have left goes in any case.
    """
    for path in folder.glob(f"*{_PARTIAL}"):
        _remove_abandoned(path)
    files = [(path.stat(), path) for path in folder.glob(f"*{_SUFFIX}")]
    total = sum(status.st_size for status, _ in files)
    for status, path in sorted(files, key=lambda file: file[0].st_mtime_ns):
        if total <= room:
            return
        path.unlink(missing_ok=True)
        total -= status.st_size


def _remove_abandoned(partial: Path) -> None:
    """Remove a file unless some process, this one among them, holds its lock."""
    with contextlib.suppress(OSError):
        file = os.open(partial, os.O_RDWR)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            partial.unlink()
        finally:
            os.close(file)
