"""The folder for what clients keep, which cannot be made again."""

import os
from pathlib import Path


class NoDataFolderError(Exception):
    """There is no such folder: one line."""


def data_folder(directory: str) -> Path:
    """The one of the settings, or if that is empty the user's. Raises NoDataFolderError."""
    data = os.environ.get("XDG_DATA_HOME", "")
    try:
        if directory:
            return Path(directory).expanduser()
        if Path(data).is_absolute():  # the standard's rule
            return Path(data) / "rwkv-server"
        return Path.home() / ".local" / "share" / "rwkv-server"
    except RuntimeError:
        raise NoDataFolderError("this user has no home folder") from None
