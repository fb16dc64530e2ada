"""Downloading one file: resumed where an earlier attempt stopped, and checked before it counts."""

import fcntl
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any, BinaryIO

from huggingface_hub import constants, hf_hub_url
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from server.checkpoints.checkpoint import CheckpointError
from server.progress import OnProgress
from server.pull.repository import RemoteFile, Repository
from server.regular_file import open_regular

_HASHED_BYTES = 1 << 22
_PARTIAL = ".rwkv-server.incomplete"


def transfer(
    repository: Repository, file: RemoteFile, target: Path, on_progress: OnProgress
) -> None:
    """Download to `target`, where a whole file appears or none.

    What an interruption leaves is used by the next attempt. Raises CheckpointError when the content
    is not what the server has announced (it is deleted then), and the library's errors.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + _PARTIAL)
    with _append_to(partial) as out:
        try:
            fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(
                f"{repository.name}/{file.name}: another process is downloading it; wait for it"
            ) from None
        if out.tell() > file.size:
            out.truncate(0)
            out.seek(0)
        _check_room(repository, file, target.parent, out.tell())
        _receive(repository, file, out, on_progress)
        out.flush()
        if not has_content(partial, file, on_progress):
            partial.unlink()
            raise CheckpointError(
                f"{repository.name}/{file.name}: the checksum of what was downloaded is wrong; it "
                "is deleted, pull again"
            )
        os.fsync(out.fileno())
        partial.replace(target)


def _append_to(partial: Path) -> BinaryIO:
    """The file that somebody else's link cannot be: it may be in a folder that others write to."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.fdopen(os.open(partial, flags, 0o666), "ab")


def has_content(path: Path, file: RemoteFile, on_progress: OnProgress) -> bool:
    """Whether the file at `path` has the size and the checksum of the remote one."""
    if path.stat().st_size != file.size:
        return False
    with open_regular(path) as content:
        if len(file.digest) == 64:
            digest = hashlib.sha256()
        else:  # SHA-1 is what git names contents by
            digest = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
        done = 0
        while piece := content.read(_HASHED_BYTES):
            digest.update(piece)
            done += len(piece)
            if file.size > _HASHED_BYTES:
                on_progress(f"checking {file.name}", done, file.size)
    return digest.hexdigest() == file.digest


def _check_room(repository: Repository, file: RemoteFile, folder: Path, have: int) -> None:
    free = shutil.disk_usage(folder).free
    if file.size - have > free:
        raise CheckpointError(
            f"{repository.name}/{file.name}: {(file.size - have) / 1e9:.1f} GB more are needed, "
            f"but {folder} has only {free / 1e9:.1f} GB left"
        )


def _receive(
    repository: Repository, file: RemoteFile, out: BinaryIO, on_progress: OnProgress
) -> None:
    url = hf_hub_url(
        repository.name, file.name, revision=repository.commit, endpoint=constants.ENDPOINT
    )

    class Bar(_Bar):
        def show(self, done: int) -> None:
            on_progress(f"pulling {file.name}", done, file.size)

    http_get(
        url,
        out,
        resume_size=out.tell(),
        headers=build_hf_headers(),
        expected_size=file.size,
        tqdm_class=Bar,
    )


class _Bar:
    """As much of a tqdm bar as the library needs."""

    def __init__(self, initial: int = 0, **_: Any) -> None:
        self._done = initial
        self.show(initial)

    def show(self, done: int) -> None:
        """Called whenever bytes have arrived, or were lost again."""
        raise NotImplementedError

    def update(self, count: int) -> None:
        self._done += count
        self.show(self._done)

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        return
