"""Where the disk tier of the state cache lies, and how large it may be."""

import logging
import shutil
from pathlib import Path

from server.cache_root import cache_root
from server.config import Settings
from server.home_folder import expanded

log = logging.getLogger(__name__)

_SHARE = 10
_MOST_BYTES = 8 << 30


def with_disk_tier(settings: Settings) -> Settings:
    """The settings with the folder and the size that their defaults stand for.

    To be asked once, before any worker starts, so that all have the same limit. Where the system
    does not tell how much is free, the default is no disk tier.
    """
    cache, engine = settings.cache, settings.engine
    root = expanded(engine.cache_dir) if engine.cache_dir else cache_root()
    folder = expanded(cache.directory) if cache.directory else root / "states"
    limit = cache.disk_bytes if cache.disk_bytes >= 0 else _default_bytes(folder)
    if cache.memory_bytes and limit:
        log.info("cached states: up to %.1f GB on disk, in %s", limit / 1e9, folder)
    found = {"directory": str(folder), "disk_bytes": limit}
    return settings.model_copy(update={"cache": cache.model_copy(update=found)})


def _default_bytes(folder: Path) -> int:
    """What the folder holds counts as free: the limit would shrink from start to start."""
    existing = next((path for path in (folder, *folder.absolute().parents) if path.is_dir()), None)
    try:
        free = shutil.disk_usage(existing or folder).free
        held = sum(path.stat().st_size for path in folder.glob("cache.sqlite*"))
    except OSError:
        return 0
    return min((free + held) // _SHARE, _MOST_BYTES)
