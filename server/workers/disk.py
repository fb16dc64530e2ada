"""Where the disk tier of the state cache lies, and how large it may be."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from server.cache_root import cache_root
from server.config import Settings

_SHARE = 10
_MOST_BYTES = 8 << 30


@dataclass(frozen=True)
class DiskTier:
    """A folder, which need not exist yet, and the most bytes for all models."""

    folder: Path
    limit_bytes: int


def disk_tier(settings: Settings) -> DiskTier | None:
    """As the settings want it; None for no disk tier.

    To be asked before workers start, so that all have the same limit. Where the system does not
    tell how much is free there is no disk tier by default.
    """
    cache, engine = settings.cache, settings.engine
    root = Path(engine.cache_dir) if engine.cache_dir else cache_root()
    folder = Path(cache.directory) if cache.directory else root / "states"
    limit = cache.disk_bytes if cache.disk_bytes >= 0 else _default_bytes(folder)
    return DiskTier(folder, limit) if limit else None


def _default_bytes(folder: Path) -> int:
    """What the folder holds counts as free: the limit would shrink from start to start."""
    existing = next((path for path in (folder, *folder.absolute().parents) if path.is_dir()), None)
    try:
        free = shutil.disk_usage(existing or folder).free
        held = sum(path.stat().st_size for path in folder.glob("cache.sqlite*"))
    except OSError:
        return 0
    return min((free + held) // _SHARE, _MOST_BYTES)
