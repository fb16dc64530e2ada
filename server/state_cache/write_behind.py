"""Writes snapshots to the tiers later, when the engine has nothing to compute."""

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from server.protocol.cache_use import SnapshotKind
from server.protocol.tier_view import TierCounters, TierName
from server.state_cache.encoding import SnapshotError
from server.state_cache.identity import ModelIdentity, TokenArray
from server.state_cache.keys import prefix_keys
from server.state_cache.snapshot import Snapshot
from server.state_cache.store import SnapshotStore, StoreUnavailable

log = logging.getLogger(__name__)

QUEUE_BYTES = 256 << 20
DELAY_SECONDS = 1.0
"""A snapshot waits so long at most for the engine to be idle."""
WORTH_TOKENS = 512
"""A chat turn leaves several snapshots a few tokens apart. Of those that are not the likely place
to go on from, one is written only if it is so many tokens beyond what is stored."""
_LESS_LIKELY: frozenset[SnapshotKind] = frozenset({"prompt", "message", "spaced"})

_QUEUE_ITEMS = 4096
_KNOWN_KEYS = 16_384
_CLEAR_SECONDS = 2.0


@dataclass(frozen=True)
class _Item:
    namespace: str
    token_ids: TokenArray
    snapshot: Snapshot
    due: float = field(default_factory=lambda: time.monotonic() + DELAY_SECONDS)

    @property
    def nbytes(self) -> int:
        return self.snapshot.nbytes + self.token_ids.nbytes


class WriteBehind:
    """A bounded queue of snapshots and the thread that writes them, the oldest first.

    Beyond `queue_bytes` the oldest are dropped. No method waits for a store, but for flush(),
    clear() and close(), which say how long.
    """

    def __init__(
        self,
        stores: Sequence[SnapshotStore],
        identity: ModelIdentity,
        counters: Mapping[TierName, TierCounters],
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        self._stores = stores
        self._identity = identity
        self._counters = counters
        self._limit_bytes = queue_bytes
        self._changed = threading.Condition()
        self._queue: OrderedDict[bytes, _Item] = OrderedDict()
        self._queued_bytes = 0
        self._due_until = 0.0  # what was queued before this is due
        self._orders: deque[Callable[[], None]] = deque([self._prepare])
        self._known: OrderedDict[bytes, None] = OrderedDict()  # as far as this process knows
        self._is_busy = False
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="tiers-write", daemon=True)
        self._thread.start()

    def put(
        self, namespace: str, token_ids: TokenArray, snapshot: Snapshot, kind: SnapshotKind
    ) -> None:
        """Queue the snapshot after these ids, if it is worth a write. Raises ValueError for one of
        another number of tokens.
        """
        length = len(token_ids)
        if snapshot.tokens != length:
            raise ValueError(f"snapshot of {snapshot.tokens} tokens put after {length} ids")
        first = max(1, length - WORTH_TOKENS + 1) if kind in _LESS_LIKELY else length
        space = self._identity.space(namespace)
        *ancestors, key = prefix_keys(space, token_ids, range(first, length + 1))
        item = _Item(namespace, token_ids.copy(), snapshot)
        with self._changed:
            if kind in _LESS_LIKELY:
                is_known = any(ancestor in self._known for ancestor in ancestors)
                if length < WORTH_TOKENS or is_known:
                    return
            queued = self._queue.get(key)
            if queued is not None:
                if snapshot.logits is None or queued.snapshot.logits is not None:
                    return
                self._take(key)
            self._queue[key] = item
            self._queued_bytes += item.nbytes
            self._know(key)
            while self._queued_bytes > self._limit_bytes or len(self._queue) > _QUEUE_ITEMS:
                self._drop(next(iter(self._queue)))
            self._changed.notify_all()

    def know(self, key: bytes) -> None:
        """Note that there is a snapshot under this key."""
        with self._changed:
            self._know(key)

    def idle(self) -> None:
        """Now is a good time to write what is queued."""
        if self._queue:
            with self._changed:
                self._make_due()

    def flush(self, seconds: float) -> bool:
        """Write all that is queued; False if that took longer."""
        with self._changed:
            self._make_due()
            return self._changed.wait_for(lambda: not (self._queue or self._is_busy), seconds)

    def clear(self, stores: Sequence[SnapshotStore]) -> bool:
        """Drop what is queued and empty the stores; False if that goes on after two seconds."""
        cleared = threading.Event()
        with self._changed:
            self._queue.clear()
            self._known.clear()
            self._queued_bytes = 0
            self._orders.append(partial(self._clear, stores, cleared))
            self._changed.notify_all()
        return cleared.wait(_CLEAR_SECONDS)

    def refresh_usage(self) -> None:
        """Let the counters' entries and bytes be brought up to date, soon."""
        with self._changed:
            if not self._orders:
                self._orders.append(self._refresh_usage)
                self._changed.notify_all()

    def close(self, seconds: float) -> bool:
        """End the thread; what is queued is lost. False if it did not end in time."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (order := self._next()) is not None:
            try:
                order()
            except Exception:  # the next one may do better
                log.exception("writing a snapshot failed")

    def _next(self) -> Callable[[], None] | None:
        """What to do next; waits for it. None: nothing any more."""
        with self._changed:
            self._is_busy = False
            self._changed.notify_all()
            while not self._is_closed:
                if self._orders:
                    self._is_busy = True
                    return self._orders.popleft()
                wait = self._seconds_until_due()
                if wait is not None and wait <= 0:
                    self._is_busy = True
                    key = next(iter(self._queue))
                    return partial(self._write, key, self._take(key))
                self._changed.wait(wait)
        return None

    def _seconds_until_due(self) -> float | None:
        """None where nothing is queued."""
        for item in self._queue.values():
            due = item.due - DELAY_SECONDS <= self._due_until
            return 0.0 if due else item.due - time.monotonic()
        return None

    def _make_due(self) -> None:
        self._due_until = time.monotonic()
        self._changed.notify_all()

    def _take(self, key: bytes) -> _Item:
        item = self._queue.pop(key)
        self._queued_bytes -= item.nbytes
        return item

    def _drop(self, key: bytes) -> None:
        self._take(key)
        self._known.pop(key, None)
        for counters in self._counters.values():
            counters.dropped += 1

    def _know(self, key: bytes) -> None:
        self._known[key] = None
        self._known.move_to_end(key)
        if len(self._known) > _KNOWN_KEYS:
            self._known.popitem(last=False)

    def _write(self, key: bytes, item: _Item) -> None:
        """Write to all tiers that do not have it, or not with logits."""
        has_logits = item.snapshot.logits is not None
        payload: bytes | None = None
        is_stored = False
        for store in self._stores:
            counters = self._counters[store.name]
            try:
                present = store.present([key])
                if key in present and (present[key] or not has_logits):
                    is_stored = True
                    continue
                if payload is None:
                    payload = self._identity.encode(item.namespace, item.token_ids, item.snapshot)
                space, tokens = self._identity.space(item.namespace), len(item.token_ids)
                is_written = store.write(space, key, tokens, has_logits, payload)
            except SnapshotError:
                counters.refused += 1
                continue
            except StoreUnavailable:
                is_written = False
            with self._changed:
                counters.writes += is_written
                counters.written_bytes += len(payload or b"") * is_written
                counters.dropped += not is_written
            is_stored |= is_written
        if not is_stored:
            with self._changed:
                self._known.pop(key, None)
        if not self._queue:
            self._refresh_usage()

    def _prepare(self) -> None:
        for store in self._stores:
            with suppress(StoreUnavailable):
                store.prepare()
        self._refresh_usage()

    def _clear(self, stores: Sequence[SnapshotStore], cleared: threading.Event) -> None:
        for store in stores:
            try:
                store.clear()
            except StoreUnavailable as error:
                log.warning("not emptied: %s", error)
        self._refresh_usage()
        cleared.set()

    def _refresh_usage(self) -> None:
        for store in self._stores:
            counters = self._counters[store.name]
            with suppress(StoreUnavailable):
                counters.entries, counters.nbytes = store.usage()
