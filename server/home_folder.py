"""`~` at the beginning of a path that somebody named."""

import contextlib
from pathlib import Path


def expanded(text: str) -> Path:
    """A path with the home folder in the place of `~`, or of `~NAME` if there is such a user.

    Else it is a name like any other. Every setting that names a file is read so.
    """
    path = Path(text)
    with contextlib.suppress(RuntimeError):  # of a user that does not exist, or without a home
        path = path.expanduser()
    return path
