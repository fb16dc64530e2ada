"""The tiers of the state cache below memory, as the engine uses them."""

from collections.abc import Sequence
from dataclasses import replace

from server.protocol.cache_use import SnapshotKind
from server.protocol.tier_view import TierCounters, TierName
from server.state_cache.encoding import SnapshotCodec, StoredType
from server.state_cache.fetching import FETCH_SECONDS, Fetch, Fetcher
from server.state_cache.identity import ModelIdentity, TokenArray
from server.state_cache.lookup import Lookup, Query
from server.state_cache.snapshot import Snapshot
from server.state_cache.store import SnapshotStore
from server.state_cache.write_behind import QUEUE_BYTES, WriteBehind

_CLOSE_SECONDS = 3.0


class SnapshotTiers:
    """Fetches snapshots from the stores and writes them there, both in threads of their own.

    `stores` are in order of preference where they have the same: disk, then shared. `codec` is
    the model's. With the dtype "float16" snapshots are rounded, and kept apart from exact ones.

    For one thread, the engine's. Nothing that happens to a store is raised here.
    """

    def __init__(
        self,
        stores: Sequence[SnapshotStore],
        codec: SnapshotCodec,
        dtype: StoredType = "float32",
        queue_bytes: int = QUEUE_BYTES,
        fetch_seconds: float = FETCH_SECONDS,
    ) -> None:
        self._stores = tuple(stores)
        identity = ModelIdentity(codec, dtype)
        self._counters: dict[TierName, TierCounters] = {
            store.name: TierCounters() for store in self._stores
        }
        lookup = Lookup(self._stores, identity, self._counters)
        self._writer = WriteBehind(self._stores, identity, self._counters, queue_bytes)
        self._fetcher = Fetcher(lookup, self._writer.know, fetch_seconds)

    def fetch(self, namespace: str, token_ids: TokenArray, beyond: int) -> Fetch:
        """Begin to look for the deepest snapshot after more than `beyond` of these ids."""
        return self._fetcher.submit(Query(namespace, token_ids.copy(), beyond))

    def wait(self, seconds: float) -> None:
        """Until a fetch is done that was not when this last returned, or none is pending, or the
        time is over.
        """
        self._fetcher.wait(seconds)

    def put(
        self, namespace: str, token_ids: TokenArray, snapshot: Snapshot, kind: SnapshotKind
    ) -> None:
        """Let the snapshot after these ids be written soon, if it is worth that.

        It is for every kind but "prompt", "message" and "spaced": these have to be 512 tokens
        beyond the nearest one that this process has put or fetched. Raises ValueError for a
        snapshot of another number of tokens.
        """
        self._writer.put(namespace, token_ids, snapshot, kind)

    def idle(self) -> None:
        """The engine has nothing to compute: now what was put can be written."""
        self._writer.idle()

    def flush(self, seconds: float) -> bool:
        """Write all that was put; False if that takes longer."""
        return self._writer.flush(seconds)

    def clear(self, shared: bool) -> bool:
        """Empty the disk tier, for all models, and the shared one if `shared`.

        Drops what was put, and lets pending fetches find nothing. False if it takes longer than
        two seconds; then it goes on.
        """
        self._fetcher.abandon()
        return self._writer.clear([s for s in self._stores if shared or s.name == "disk"])

    def counters(self) -> dict[TierName, TierCounters]:
        """A copy of the counters. Entries and bytes are as of the last time that this was asked,
        of clear() or of the start.
        """
        self._writer.refresh_usage()
        return {
            store.name: replace(self._counters[store.name], errors=store.errors)
            for store in self._stores
        }

    def close(self) -> None:
        """End the threads, within seconds, and let go of files and connections. What was put and
        not flushed is lost.
        """
        ended = self._fetcher.close(_CLOSE_SECONDS), self._writer.close(_CLOSE_SECONDS)
        if all(ended):
            for store in self._stores:
                store.close()
