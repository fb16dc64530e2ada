"""Packed weights on disk: written once, then mapped by every worker, which share its pages.

The file is safetensors with checksums (block_checksums.py). It is named by what it was made of and
how; whatever is not exactly as expected is made anew.
"""

import contextlib
import errno
import fcntl
import hashlib
import logging
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from server.checkpoints.checkpoint import NUMPY_DTYPES, Checkpoint, CheckpointError
from server.checkpoints.safetensors import read_safetensors
from server.checkpoints.writer import safetensors_header
from server.model.block_checksums import (
    BLOCKS,
    CHECKSUMS,
    CheckRecord,
    OnBytes,
    fill_checksums,
    is_whole,
    unchanged,
    with_checksums,
)
from server.model.packing import Layout
from server.temporary_files import PARTIAL_NAME, forget, own, remove_abandoned

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]
MODEL_KEY, DTYPE_KEY, REVISION_KEY = "model", "dtype", "packing_revision"
"""Of the metadata: the checkpoint's path, the weight type, and the revision that packed it."""
_SAMPLE_BYTES = 4096
_SYNC_SECONDS = 1.0
_READ_AHEAD_BYTES = 16 << 20
_SUFFIX, _PARTIAL = ".safetensors", ".partial"


def read_ahead(path: Path) -> None:
    """Have the system read a mapped file into memory, in a thread, while others begin to use it."""

    def read() -> None:
        with contextlib.suppress(OSError):
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                for begin in range(0, os.fstat(file).st_size, _READ_AHEAD_BYTES):
                    os.posix_fadvise(file, begin, _READ_AHEAD_BYTES, os.POSIX_FADV_WILLNEED)
            finally:
                os.close(file)

    if hasattr(os, "posix_fadvise"):
        threading.Thread(target=read, name="read ahead", daemon=True).start()


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


class MappedArrays(NamedTuple):
    """The arrays of a packed file by their names, and the checksums of their bytes."""

    arrays: dict[str, Array]
    checksums: dict[str, int]

    @classmethod
    def of(cls, found: Checkpoint, layout: Layout) -> "MappedArrays":
        """Those of a layout, which is the beginning of the file's."""
        checksums = found.tensors[CHECKSUMS].data.tolist()
        arrays = {name: found.tensors[name].data for name in layout}
        return cls(arrays, dict(zip(layout, checksums, strict=False)))


class PackedFile:
    """The packed weights of one checkpoint in a folder of such files."""

    def __init__(
        self,
        folder: Path,
        name: str,
        source: Checkpoint,
        layout: Layout,
        about: Mapping[str, str] | None = None,
    ) -> None:
        """`about` is metadata for those who look at the folder."""
        self._path = folder / f"{name}{_SUFFIX}"
        self._source = source
        self._about = dict(about or {})
        self._layout = layout

    def read(self, thorough: bool, on_bytes: OnBytes) -> MappedArrays | None:
        """The arrays, mapped read-only; None if there is no whole and current file of them.

        All bytes are read where it is to be thorough, and where the file has changed since they
        were; then on_bytes is called.
        """
        remove_abandoned(self._path.parent, PARTIAL_NAME)
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
        record = CheckRecord(self._path.parent, found)
        is_known = record.holds()
        if not is_whole(found, thorough or not is_known, on_bytes):
            log.warning("packing the weights again: %s is damaged", self._path)
            return None
        if not is_known:
            record.write()
        with contextlib.suppress(OSError):  # used now: the last to be removed
            os.utime(self._path, ns=(time.time_ns(), self._path.stat().st_mtime_ns))
        read_ahead(self._path)
        return MappedArrays.of(found, self._layout)

    def _is_current(self, found: Checkpoint) -> bool:
        expected = with_checksums(self._layout)
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
        layout = with_checksums(self._layout)
        modified = str(self._source.modified_ns)
        header, size = safetensors_header(layout, {**self._about, "modified": modified})
        partial = self._path.with_suffix(_PARTIAL)
        before = self._identity()
        if len(header) + size > limit:
            raise OSError(errno.EFBIG, "larger than engine.weights_cache_bytes", str(self._path))
        with _locked(partial) as file:
            if self._identity() != before:
                partial.unlink()
                return
            _make_room(self._path.parent, limit - len(header) - size)
            own(partial)
            try:
                fill_file(file, header, size, layout, fill)
                partial.replace(self._path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
            finally:
                forget(partial)
        with contextlib.suppress(CheckpointError, OSError):  # removed again by another process
            CheckRecord(self._path.parent, read_safetensors(self._path)).write()

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_ctime_ns


def fill_file(
    file: int, header: bytes, size: int, layout: Layout, fill: Callable[[dict[str, Array]], None]
) -> None:
    """Make an open file of a header and what `fill` makes of a layout's arrays, which are zero.

    The layout is one of with_checksums(). All is on the disk in the end: what a crash leaves is
    never at its place. Raises OSError before anything is filled when there is no room.
    """
    os.ftruncate(file, 0)
    _reserve(file, len(header) + size)
    mapped = mmap.mmap(file, len(header) + size)
    mapped[: len(header)] = header
    arrays = _arrays(mapped, len(header), layout)
    with _written_meanwhile(file):
        fill({name: a for name, a in arrays.items() if name not in (CHECKSUMS, BLOCKS)})
        fill_checksums(header, memoryview(mapped)[len(header) :], arrays)
    os.fsync(file)


@contextlib.contextmanager
def _written_meanwhile(file: int) -> Iterator[None]:
    """Let what is filled reach the disk bit by bit, so that little is left to wait for."""
    ended = threading.Event()

    def write() -> None:
        while not ended.wait(_SYNC_SECONDS):
            with contextlib.suppress(OSError):  # which the last fsync says, too
                os.fsync(file)

    thread = threading.Thread(target=write, name="write packed weights", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


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
    remove_abandoned(folder, PARTIAL_NAME)
    files = [(path.stat(), path) for path in folder.glob(f"*{_SUFFIX}")]
    total = sum(status.st_size for status, _ in files)
    for status, path in sorted(files, key=lambda file: _last_use(file[0])):
        if total <= room:
            return
        path.unlink(missing_ok=True)
        total -= status.st_size


def _last_use(status: os.stat_result) -> tuple[int, int]:
    return status.st_atime_ns, status.st_mtime_ns
