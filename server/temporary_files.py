"""Files that are written under a temporary name, and what killed processes have left of them.

A process holds a lock on what it writes. It removes it when it ends in any way that lets it, and
the next one that writes to the folder removes what nobody holds.
"""

import atexit
import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import FrameType

_NAME = re.compile(r"\..+\.[0-9a-f]{12}\.rwkv-server\.tmp")
PARTIAL_NAME = re.compile(r".+\.partial")
"""What packed weights are called in their own folder until they are whole."""

_MAX_SCANNED = 100_000

_own: set[Path] = set()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new empty file to write to, which becomes `path` when it is whole, or else is removed.

    Inside another such context, and for files in the folder of replacing_folder(), it is the path
    itself. Raises OSError.
    """
    if path in _own or path.parent in _own:
        yield path
        _sync(path)
        return
    with _temporary(path, is_folder=False) as temporary:
        yield temporary
        _sync(temporary)
        temporary.replace(path)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, which is removed in the end if it is still there."""
    with _temporary(path, is_folder=True) as temporary:
        yield temporary


@contextmanager
def _temporary(path: Path, is_folder: bool) -> Iterator[Path]:
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(path.parent))
    remove_abandoned(path.parent)
    # Nobody can have put a link there, which would be written through.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.rwkv-server.tmp")
    lock = -1
    _own.add(temporary)  # first: a signal may come as soon as it is there
    try:
        lock = _create_locked(temporary, is_folder)
        yield temporary
    finally:
        _remove(temporary)
        _own.discard(temporary)
        if lock >= 0:
            os.close(lock)


def _create_locked(path: Path, is_folder: bool) -> int:
    """A file descriptor of a new file or folder that holds its lock."""
    while True:
        if is_folder:
            path.mkdir()
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        else:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with contextlib.suppress(OSError):  # without locks nobody removes it, either
                fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(lock), path.lstat()):
                return lock
        except FileNotFoundError:  # another process has found it before it was locked
            pass
        os.close(lock)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def own(path: Path) -> None:
    """Remove this file, too, when the process ends before forget()."""
    _own.add(path)


def forget(path: Path) -> None:
    """The file is gone, or in its place."""
    _own.discard(path)


@atexit.register
def remove_own() -> None:
    """Remove what this process is writing; for an end that unwinds nothing."""
    for path in list(_own):
        with contextlib.suppress(OSError):
            _remove(path)


def remove_abandoned(folder: Path, name: re.Pattern[str] = _NAME) -> None:
    """Remove the temporary files and folders of a folder that no process holds.

    They are ours by their names, and of this user. Raises nothing.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in islice(entries, _MAX_SCANNED):
            if name.fullmatch(entry.name) and folder / entry.name not in _own:
                with contextlib.suppress(OSError):
                    _remove_if_abandoned(folder / entry.name)


@contextmanager
def interrupted_when_ended() -> Iterator[None]:
    """In here, let SIGTERM and SIGHUP raise KeyboardInterrupt as Ctrl-C does, once.

    So what is half written goes, and a second signal does not disturb it. What is ignored, as by
    nohup, stays so.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    heeded = [number for number, action in before.items() if action is not signal.SIG_IGN]

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        for each in heeded:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in heeded:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, before[number])


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove_if_abandoned(path: Path) -> None:
    """Raises OSError when some process holds it, or it is not to be opened."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(file)
        if status.st_uid != os.geteuid() or not (
            stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
        ):
            return
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(status, path.lstat()):
            _remove(path)
    finally:
        os.close(file)
