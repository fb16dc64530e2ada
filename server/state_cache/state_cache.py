"""Snapshots of states by the token ids that led to them, in memory, within a budget in bytes.

A state cannot be trimmed: a sequence can only go on from where a snapshot was taken. So snapshots
lie in a radix tree, a sequence is matched with the deepest one on its path, and where it leaves
the tree beyond that is a junction: another sequence shares so much, and the next might.

Snapshots go in and out by reference. One thread only.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from math import log2

from server.protocol.cache_use import SnapshotKind
from server.protocol.cache_view import CacheCounters, EntryInfo
from server.state_cache.cache_entries import CacheEntries, Entry
from server.state_cache.eviction import EvictionQueue
from server.state_cache.radix_tree import (
    NODE_BYTES,
    TOKEN_BYTES,
    TokenIds,
    Walk,
    pack_ids,
    path_bytes,
)
from server.state_cache.snapshot import Snapshot

HALF_LIFE_SECONDS = 600.0
JUNCTION_TOKENS = 32
"""A snapshot costs about a millisecond, megabytes, and a chunk of a prompt that ends early; what
saves fewer tokens is not worth that."""

# Snapshots below a new one whose worth is computed anew at most. Any more stay in the queue with
# what they were worth before, and so somewhat too long.
_LOWERED = 256


@dataclass(frozen=True)
class Match:
    """What the cache has for a sequence of token ids."""

    snapshot: Snapshot | None
    tokens: int
    """How many of the ids the snapshot stands for, 0 without one."""
    junction: int
    """After how many ids prefill should stop once to insert a snapshot; 0: nowhere."""
    handle: int | None


class StateCache:
    """Holds at most `limit_bytes` bytes of snapshots and paths over all namespaces, at any time.

    A namespace is everything but the token ids on which a state depends, and whose it is; nothing
    is shared between two. Beyond the budget go the snapshots of least worth:

        tokens saved over the nearest snapshot above × 0.5 ** (idle time ÷ half-life) ÷ bytes

    where idle time began with the last hit or insert. Two entries age alike, so the order of the
    logarithms stays, and EvictionQueue can keep it. A new snapshot is never its own victim:
    however little it saves, the conversation that it belongs to is likely to go on.
    """

    def __init__(
        self,
        limit_bytes: int,
        clock: Callable[[], float] = time.monotonic,
        half_life_seconds: float = HALF_LIFE_SECONDS,
        junction_tokens: int = JUNCTION_TOKENS,
    ) -> None:
        self.limit_bytes = limit_bytes
        self._clock = clock
        self._half_life = half_life_seconds
        self._junction_tokens = junction_tokens
        self._counters = CacheCounters()
        self._entries = CacheEntries()
        self._evictable = EvictionQueue(self._worth)

    def match(self, namespace: str, token_ids: TokenIds, at_most: int | None = None) -> Match:
        """The deepest snapshot that is of use for a sequence; counts as a hit or a miss.

        It is of use if ids remain to be computed after it, or if it has the logits to go on from.
        `at_most` asks for one after no more ids than that, for whoever needs what is computed on
        the way.

        The junction is where the ids and the tree part, or where the ids end, if that is at least
        `junction_tokens` beyond the deepest snapshot on the path, be that one of use or not. The
        caller may stop a little earlier, such as at the end of a message.
        """
        length = len(token_ids)
        walk = self._entries.trees.walk(namespace, pack_ids(token_ids))
        found, tokens = _deepest_of_use(walk, length, length if at_most is None else at_most)
        deepest = max((node.depth for node in walk.nodes if node.value is not None), default=0)
        junction = walk.tokens if walk.tokens - deepest >= self._junction_tokens else 0
        if found is None:
            self._counters.unknown += not walk.tokens
            self._counters.no_snapshot += walk.tokens > 0
            return Match(None, 0, junction, None)
        self._count_hit(found, tokens, tokens == length)
        return Match(found.snapshot, tokens, junction, found.handle)

    def depth(self, namespace: str, token_ids: TokenIds) -> int:
        """How many of the ids the snapshot stands for that match() would find; counts nothing."""
        walk = self._entries.trees.walk(namespace, pack_ids(token_ids))
        return _deepest_of_use(walk, len(token_ids), len(token_ids))[1]

    def insert(
        self, namespace: str, token_ids: TokenIds, snapshot: Snapshot, kind: SnapshotKind = "prompt"
    ) -> int | None:
        """Keep the snapshot that was taken after these ids; returns the handle of the entry.

        Where there is one already it stays, and counts as used, unless only the new one has logits:
        then that takes its place, under the same handle. None if there is no room beside what is
        pinned. Raises ValueError for a snapshot of another number of tokens, or of none.
        """
        path = pack_ids(token_ids)
        length = len(token_ids)
        if snapshot.tokens != length or not length:
            raise ValueError(f"snapshot of {snapshot.tokens} tokens inserted after {length} ids")
        node = self._entries.trees.find(namespace, path)
        entry = node.value if node is not None else None
        if entry is None:
            return self._insert(namespace, path, snapshot, kind)
        entry.used = self._clock()
        if snapshot.logits is not None and entry.snapshot.logits is None:
            self._replace(entry, snapshot)
        return entry.handle

    def pin(self, handle: int) -> bool:
        """Keep an entry from being evicted; False if there is none with this handle."""
        return self._set_pinned(handle, True)

    def unpin(self, handle: int) -> bool:
        """The opposite of pin()."""
        return self._set_pinned(handle, False)

    def remove(self, handle: int) -> bool:
        """Drop an entry, pinned or not; False if there is none with this handle."""
        entry = self._entries.by_handle.get(handle)
        if entry is not None:
            self._drop(entry)
            self._counters.removed += 1
        return entry is not None

    def clear(self, namespace: str | None = None) -> None:
        """Drop all entries of a namespace, or of all; also those that are pinned."""
        for entry in list(self._entries.by_handle.values()):
            if namespace in (None, entry.namespace):
                self._drop(entry)
                self._counters.cleared += 1

    @property
    def counters(self) -> CacheCounters:
        """A copy of the counters."""
        return replace(
            self._counters,
            entries=len(self._entries.by_handle),
            nbytes=self._entries.nbytes,
            pinned_bytes=self._entries.pinned_bytes,
        )

    def entries(self) -> list[EntryInfo]:
        """All entries, the oldest first."""
        now = self._clock()
        return [entry.info(now) for entry in self._entries.by_handle.values()]

    def check_integrity(self) -> None:
        """For tests: raises AssertionError where something is not as it is described here."""
        self._entries.check_integrity()
        self._evictable.check_integrity()
        assert self._entries.nbytes <= self.limit_bytes, "beyond the budget"
        unpinned = {h for h, entry in self._entries.by_handle.items() if not entry.pinned}
        assert self._evictable.handles == unpinned, "what can be evicted is not what is unpinned"

    def _worth(self, handle: int) -> float:
        """The logarithm of an entry's worth, but for what is the same for all.

        Its bytes are taken to be those of the ids that lead only to it, so that more gain is
        always more worth.
        """
        entry = self._entries.by_handle[handle]
        gain = entry.node.gain()
        size = entry.snapshot.nbytes + NODE_BYTES + TOKEN_BYTES * gain
        return log2(gain / size) + entry.used / self._half_life

    def _is_too_large(self, nbytes: int, length: int) -> bool:
        """Whether so many more bytes, by such a path, could not even be with what is pinned.

        The paths of what is pinned are left out, since they may be the same: rarely, all that can
        go has gone before it turns out that there is no room.
        """
        size = self._entries.pinned_bytes + nbytes + path_bytes(length)
        if size > self.limit_bytes:
            self._counters.refused += 1
        return size > self.limit_bytes

    def _make_room_for(self, entry: Entry) -> bool:
        """Evict others until all are within the budget; False if that is not enough."""
        for below in islice(entry.node.nearest_below(), _LOWERED):
            if below.value is not None:
                self._evictable.fell(below.value.handle)
        self._evictable.discard(entry.handle)
        while self._entries.nbytes > self.limit_bytes and (victim := self._evictable.pop()):
            self._entries.drop(self._entries.by_handle[victim])
            self._counters.evicted += 1
        if not entry.pinned:
            self._evictable.add(entry.handle)
        fits = self._entries.nbytes <= self.limit_bytes
        self._counters.refused += not fits
        return fits

    def _insert(
        self, namespace: str, path: bytes, snapshot: Snapshot, kind: SnapshotKind
    ) -> int | None:
        if self._is_too_large(snapshot.nbytes, len(path) // TOKEN_BYTES):
            return None
        entry = self._entries.add(namespace, path, snapshot, kind, self._clock())
        if not self._make_room_for(entry):
            self._drop(entry)
            return None
        self._counters.inserts += 1
        return entry.handle

    def _replace(self, entry: Entry, snapshot: Snapshot) -> None:
        """Exchange the snapshot; handle, pin and path stay. So does it if there is no room."""
        old = entry.snapshot
        nbytes = snapshot.nbytes - (old.nbytes if entry.pinned else 0)
        if not self._is_too_large(nbytes, entry.node.depth):
            self._entries.set_snapshot(entry, snapshot)
            if self._make_room_for(entry):
                self._counters.replaced += 1
            else:
                self._entries.set_snapshot(entry, old)

    def _drop(self, entry: Entry) -> None:
        self._evictable.discard(entry.handle)
        self._entries.drop(entry)

    def _count_hit(self, entry: Entry, tokens: int, is_exact: bool) -> None:
        entry.hits += 1
        entry.used = self._clock()
        self._counters.tokens_saved += tokens
        self._counters.exact_hits += is_exact
        self._counters.prefix_hits += not is_exact

    def _set_pinned(self, handle: int, pinned: bool) -> bool:
        entry = self._entries.by_handle.get(handle)
        if entry is None:
            return False
        self._entries.set_pinned(entry, pinned)
        if pinned:
            self._evictable.discard(handle)
        else:
            self._evictable.add(handle)
        return True


def _deepest_of_use(walk: Walk[Entry], length: int, limit: int) -> tuple[Entry | None, int]:
    """The last entry on the way of `length` ids that can be gone on from, and its depth."""
    for node in reversed(walk.nodes):
        entry, depth = node.value, node.depth
        if entry and depth <= limit and (depth < length or entry.snapshot.logits is not None):
            return entry, depth
    return None, 0
