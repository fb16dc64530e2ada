"""What is kept between runs and can be made again: packed weights, compiled kernels, states."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.safetensors import read_safetensors
from server.kernels.jit import machine_code_hash
from server.model.packed_file import DTYPE_KEY, MODEL_KEY, REVISION_KEY
from server.model.revisions import PACKING_REVISION

_PACKED, _PARTIAL = "*.safetensors", "*.partial"


@dataclass(frozen=True)
class Cached:
    """A file or folder in the cache."""

    path: Path
    what: str
    size: int
    """Bytes."""
    stale: str = ""
    """Why nothing will use it again; empty if something may."""


def cached_items(root: Path) -> list[Cached]:
    """In the cache folder: packed weights, then compiled kernels, then the states on disk."""
    return [*_packed_weights(root / "weights"), *_kernels(root / "kernels"), *_states(root)]


def prune(items: list[Cached]) -> Iterator[Cached]:
    """Remove what is stale; yields each item once it is gone.

    A running server that has mapped such weights, or loaded such kernels, is not disturbed. Raises
    OSError for what cannot be removed.
    """
    for item in items:
        if not item.stale:
            continue
        if item.path.is_dir():
            shutil.rmtree(item.path)
        else:
            item.path.unlink(missing_ok=True)
        yield item


def _packed_weights(folder: Path) -> Iterator[Cached]:
    for path in sorted(folder.glob(_PACKED)):
        size = _size(path)
        try:
            found = read_safetensors(path).metadata
        except CheckpointError:
            yield Cached(path, "packed weights", size, "damaged")
            continue
        source, dtype = found.get(MODEL_KEY, ""), found.get(DTYPE_KEY, "")
        stale = ""
        if found.get(REVISION_KEY) != str(PACKING_REVISION):
            stale = "packed by another version"
        elif not os.path.lexists(source):
            stale = "the model is gone"
        what = f"{source or 'a model'}{f' as {dtype}' if dtype else ''}"
        yield Cached(path, what, size, stale)
    for path in sorted(folder.glob(_PARTIAL)):
        if not _is_locked(path):
            yield Cached(path, "packed weights", _size(path), "half written")


def _kernels(folder: Path) -> Iterator[Cached]:
    for path in sorted(folder.glob("*")):
        current = path.name == machine_code_hash()
        stale = "" if current else "compiled by another version, or for another CPU"
        yield Cached(path, "kernels", _size(path), stale)


def _states(root: Path) -> Iterator[Cached]:
    folder = root / "states"
    if folder.is_dir():
        yield Cached(folder, "states of conversations", _size(folder))


def _is_locked(path: Path) -> bool:
    """Whether some process is writing a file."""
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


def _size(path: Path) -> int:
    """Bytes of a file, or of all files under a folder."""
    total = 0
    with suppress(OSError):
        total = path.stat().st_size if not path.is_dir() else 0
    if path.is_dir():
        for folder, _, names in os.walk(path):
            for name in names:
                with suppress(OSError):
                    total += Path(folder, name).stat().st_size
    return total
