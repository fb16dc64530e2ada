"""Opening files that somebody named: regular ones only, without waiting, and within a bound.

A pipe would keep the server waiting for who writes to it; a device such as /dev/zero never ends.
"""

import errno
import os
import re
import stat
from io import BufferedReader
from pathlib import Path

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_ANNEX_POINTER = b"/annex/objects/"
_SIZE = re.compile(rb"^size (\d{1,18})\s*$|-s(\d{1,18})-", re.MULTILINE)
_MAX_POINTER_BYTES = 1024  # as Git LFS has it


def open_regular(path: Path) -> BufferedReader:
    """A file opened for reading. Raises OSError, also for what is not a regular file.

    A pointer that a clone without Git LFS has in the place of a file is not that file. Links are
    followed: whether one may lead out of a folder is not asked here.
    """
    try:
        _check(path, path.stat())  # before it is opened, which a device may mind
        # The file could have been replaced by a pipe since: opening that must not wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except ValueError:  # a NUL, or half of a surrogate pair
        raise OSError(errno.EINVAL, "not the name of a file", str(path)) from None
    try:
        status = os.fstat(descriptor)
        _check(path, status)
        if status.st_size < _MAX_POINTER_BYTES:
            _check_content(path, os.pread(descriptor, _MAX_POINTER_BYTES, 0))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, limit: int) -> bytes:
    """A file of at most `limit` bytes, also if it grows meanwhile. Raises OSError."""
    with open_regular(path) as file:
        # Of a file that is too large nothing is read. Those in /proc say that they are empty.
        is_larger = os.fstat(file.fileno()).st_size > limit
        content = b"" if is_larger else file.read(limit + 1)
    if is_larger or len(content) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit} bytes", str(path))
    return content


def read_regular_text(path: Path, limit: int) -> str:
    """UTF-8 text with newlines of any kind as `\\n`, without the byte order mark of some editors.

    Raises OSError and UnicodeDecodeError.
    """
    text = read_regular(path, limit).decode("utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _check(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "a folder, not a file", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def _check_content(path: Path, content: bytes) -> None:
    if content.startswith(_LFS_POINTER):
        kind, command = "Git LFS", "git lfs pull"
    elif content.startswith(_ANNEX_POINTER):
        kind, command = "git-annex", "git annex get"
    else:
        return
    size = _SIZE.search(content)
    stands_for = f" to a file of {_in_words(int(size[1] or size[2]))}" if size else ""
    message = f"a pointer of {kind}{stands_for}, not the file itself; fetch that with {command}"
    raise OSError(errno.EINVAL, message, str(path))


def _in_words(size: int) -> str:
    """`382.5 MB`."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"
