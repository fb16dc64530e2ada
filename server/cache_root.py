"""The folder for everything that is kept between runs and can be made again."""

import os
import tempfile
from pathlib import Path


def cache_root() -> Path:
    """NUMBA_CACHE_DIR where it is set, as workers have it from engine.cache_dir; else the user's
    cache folder.
    """
    return Path(os.environ.get("NUMBA_CACHE_DIR") or _user_cache() / "rwkv-server")


def _user_cache() -> Path:
    if configured := os.environ.get("XDG_CACHE_HOME"):
        return Path(configured)
    try:
        return Path.home() / ".cache"
    except RuntimeError:  # no home folder
        return Path(tempfile.gettempdir())
