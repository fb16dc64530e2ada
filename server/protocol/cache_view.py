"""What an operator sees of a state cache. Plain data."""

from dataclasses import dataclass

from server.protocol.cache_use import SnapshotKind
from server.protocol.tier_view import TierCounters, TierName


@dataclass
class CacheCounters:
    """What has happened since the cache was made, but for the last three, which are as of now."""

    exact_hits: int = 0
    """Matches of all token ids, which leave nothing to compute."""
    prefix_hits: int = 0
    unknown: int = 0
    """Misses of sequences that share nothing with any before."""
    no_snapshot: int = 0
    """Misses of sequences that begin like others, but part from them before any snapshot."""
    not_asked: int = 0
    """Requests that wanted nothing from the cache."""
    tokens_saved: int = 0
    """Token ids that need not be computed thanks to the hits."""
    inserts: int = 0
    """Snapshots that were taken in."""
    refused: int = 0
    """Snapshots for which there was no room beside what is pinned."""
    evicted: int = 0
    """Snapshots that made room for others."""
    replaced: int = 0
    """Snapshots without logits whose place was taken by one with logits."""
    removed: int = 0
    """Snapshots that were removed one by one."""
    cleared: int = 0
    """Snapshots that were removed with their namespace."""
    entries: int = 0
    nbytes: int = 0
    pinned_bytes: int = 0
    """Bytes of pinned snapshots, without their paths."""


@dataclass(frozen=True)
class EntryInfo:
    """One snapshot in the cache."""

    handle: int
    namespace: str
    kind: SnapshotKind
    tokens: int
    """Length of its path in token ids."""
    nbytes: int
    """Size of the snapshot in bytes, without its path."""
    hits: int
    age_seconds: float
    """Since it was inserted."""
    idle_seconds: float
    """Since it was last inserted or hit."""
    pinned: bool


@dataclass
class CacheReport:
    """The cache of one worker."""

    limit_bytes: int
    """Of memory; 0 without a cache."""
    memory: CacheCounters
    tiers: dict[TierName, TierCounters]
    """Below memory."""
    recent: list[EntryInfo]
    """The snapshots in memory that were used last, at most RECENT_ENTRIES."""


RECENT_ENTRIES = 50
