"""Temporary folders that only this user may enter, and that do not outlive their process for long.

A process that is killed cannot remove its own. So each is locked by its process, and the next one
removes those that nobody holds.
"""

import contextlib
import fcntl
import logging
import os
import re
import shutil
import socket
import stat
import tempfile
import time
from functools import cache
from itertools import islice
from pathlib import Path

_PREFIX = "rwkv-server-"
_NAME = re.compile(rf"{_PREFIX}[a-z0-9_]{{8}}")
_OWNER = "pid"
"""A file with the number of the process that has locked the folder, for people; where it is missing
the folder may be of a process that does not lock, as an earlier version."""
_SOCKET = "workers"

_MAX_SCANNED = 10_000
_MAX_REMOVED = 100
_UNOWNED_SECONDS = 3600.0
log = logging.getLogger(__name__)


class PrivateFolder:
    """A folder in the system's temporary one, until remove() or the end of the process."""

    def __init__(self) -> None:
        """Raises OSError."""
        _remove_abandoned(Path(tempfile.gettempdir()))
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        """Absolute."""
        self.lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        """A file descriptor: the folder is held by every process that has it open."""
        self._pid = os.getpid()
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX)
        except OSError as error:
            log.debug("%s: cannot be locked: %s", self.path, error.strerror)
        else:
            (self.path / _OWNER).write_text(f"{self._pid}\n")

    def remove(self) -> None:
        """Remove it with all that is in it. A process that was forked off leaves it alone."""
        if os.getpid() == self._pid and self.lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self.lock)
            self.lock = -1


def is_private_folder(path: Path) -> bool:
    """Whether a folder is called as those of this module are."""
    return bool(_NAME.fullmatch(path.name))


@cache
def _remove_abandoned(where: Path) -> None:
    """Remove the folders that processes of this user have left, within bounds."""
    removed = 0
    with contextlib.suppress(OSError), os.scandir(where) as entries:
        for entry in islice(entries, _MAX_SCANNED):
            if _NAME.fullmatch(entry.name) and removed < _MAX_REMOVED:
                removed += _remove_if_abandoned(where / entry.name)
    if removed:
        log.info("removed %d temporary folders that ended processes had left", removed)


def _remove_if_abandoned(path: Path) -> bool:
    """Whether it was removed."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # a link, or of somebody else
        return False
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(folder)
        if status.st_uid != os.geteuid() or not _is_abandoned(path, status):
            return False
        shutil.rmtree(path)
    except OSError:
        return False
    finally:
        os.close(folder)
    return True


def _is_abandoned(path: Path, status: os.stat_result) -> bool:
    """Whether the process of a folder that is not locked has ended."""
    if (path / _OWNER).exists():
        return True
    with contextlib.suppress(FileNotFoundError):
        return _nobody_listens(path / _SOCKET)
    return time.time() - status.st_mtime > _UNOWNED_SECONDS


def _nobody_listens(path: Path) -> bool:
    """Whether a socket has no process any more; raises FileNotFoundError where there is none."""
    if not stat.S_ISSOCK(path.lstat().st_mode):
        return False
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False
