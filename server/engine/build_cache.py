"""Puts the state cache of a worker together from settings."""

from pathlib import Path

from server.config import CacheSettings
from server.engine.prefix_cache import PrefixCache
from server.state_cache.disk_store import DiskStore
from server.state_cache.encoding import SnapshotCodec
from server.state_cache.shared_store import SharedStore
from server.state_cache.state_cache import StateCache
from server.state_cache.store import SnapshotStore
from server.state_cache.tiers import SnapshotTiers


def build_cache(codec: SnapshotCodec, settings: CacheSettings, memory_bytes: int) -> PrefixCache:
    """A cache in memory with the tiers below it; none at all without memory.

    Of the settings, `directory` and `disk_bytes` say what they stand for: with a default that was
    not looked up there is no disk tier.
    """
    if not memory_bytes:
        return PrefixCache(None)
    stores: list[SnapshotStore] = []
    if settings.disk_bytes > 0:
        stores.append(DiskStore(Path(settings.directory), settings.disk_bytes))
    if settings.shared_url:
        url, seconds = settings.shared_url, settings.shared_ttl_seconds
        stores.append(SharedStore(url, seconds, snapshot_bytes=codec.largest_bytes))
    tiers = None
    if stores:
        tiers = SnapshotTiers(stores, codec, settings.disk_format)
    return PrefixCache(StateCache(memory_bytes), tiers)
