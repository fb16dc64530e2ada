"""Finds the deepest stored snapshot of a sequence over all tiers, and believes none unverified."""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from server.protocol.tier_view import TierCounters, TierName
from server.state_cache.encoding import SnapshotError, StoredSnapshot
from server.state_cache.identity import ForeignSnapshotError, ModelIdentity, TokenArray
from server.state_cache.keys import prefix_keys
from server.state_cache.store import SnapshotStore, StoreUnavailable

# Keys that a store is asked for at once: the deepest are likely to be there.
_BATCH = 256


@dataclass(frozen=True)
class Found:
    """A verified snapshot and where it was."""

    stored: StoredSnapshot
    tier: TierName
    key: bytes


@dataclass(frozen=True)
class Query:
    """A sequence, of which more than `beyond` tokens are wanted."""

    namespace: str
    token_ids: TokenArray
    beyond: int


@dataclass(frozen=True)
class _Candidate:
    store: SnapshotStore
    key: bytes
    tokens: int


class Lookup:
    """Asks the stores, the first of them first where they have the same. One thread only."""

    def __init__(
        self,
        stores: Sequence[SnapshotStore],
        identity: ModelIdentity,
        counters: Mapping[TierName, TierCounters],
    ) -> None:
        self._stores = stores
        self._identity = identity
        self._counters = counters
        self._failed: set[TierName] = set()

    def find(self, query: Query, is_wanted: Callable[[], bool]) -> Found | None:
        """The deepest snapshot of use, as long as somebody wants it; raises nothing of a store.

        A snapshot of all ids is of use only with logits: without, nothing is left to compute them
        from. What turns out to be damaged or foreign is removed from its store.
        """
        self._failed.clear()
        found = self._find(query, is_wanted)
        wanted = is_wanted()
        for store in self._stores:
            counters = self._counters[store.name]
            counters.reads += 1
            if found is not None and found.tier == store.name and wanted:
                counters.hits += 1
                counters.tokens_saved += found.stored.snapshot.tokens - query.beyond
            elif store.name in self._failed or not wanted:
                counters.unavailable += 1
            else:
                counters.absent += 1
        return found

    def _find(self, query: Query, is_wanted: Callable[[], bool]) -> Found | None:
        each = (self._candidates(store, query) for store in self._stores)
        for candidate in heapq.merge(*each, key=lambda candidate: -candidate.tokens):
            if not is_wanted():
                return None
            try:
                stored = self._verified(candidate, query)
            except StoreUnavailable:
                self._failed.add(candidate.store.name)
                continue
            if stored is not None:
                return Found(stored, candidate.store.name, candidate.key)
        return None

    def _candidates(self, store: SnapshotStore, query: Query) -> Iterator[_Candidate]:
        """What the store says that it has, the deepest first."""
        space = self._identity.space(query.namespace)
        length = len(query.token_ids)
        try:
            lengths = store.lengths(space, query.beyond, length)
            keys = prefix_keys(space, query.token_ids, reversed(lengths))[::-1]
            for start in range(0, len(keys), _BATCH):
                batch = keys[start : start + _BATCH]
                present = store.present(batch)
                for key, tokens in zip(batch, lengths[start : start + _BATCH], strict=True):
                    if key in present and (tokens < length or present[key]):
                        yield _Candidate(store, key, tokens)
        except StoreUnavailable:
            self._failed.add(store.name)

    def _verified(self, candidate: _Candidate, query: Query) -> StoredSnapshot | None:
        store, counters = candidate.store, self._counters[candidate.store.name]
        space = self._identity.space(query.namespace)
        payload = store.read(space, candidate.key, candidate.tokens)
        if payload is None:
            return None
        token_ids = query.token_ids[: candidate.tokens]
        try:
            stored = self._identity.decode(payload, query.namespace, token_ids)
        except SnapshotError:
            counters.corrupt += 1
        except ForeignSnapshotError:
            counters.foreign += 1
        else:
            whole = candidate.tokens == len(query.token_ids)
            return stored if stored.snapshot.logits is not None or not whole else None
        store.remove(candidate.key)
        return None
