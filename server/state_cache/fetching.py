"""Fetches from the tiers, off the engine's thread."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from server.protocol.tier_view import TierName
from server.state_cache.encoding import StoredSnapshot
from server.state_cache.lookup import Found, Lookup, Query

log = logging.getLogger(__name__)

FETCH_SECONDS = 4.0
"""A fetch is done after so long, found or not: beyond it computing is the better choice."""
_MOST_PENDING = 1024


class Fetch:
    """A question to the tiers. `result` and `tier` say something once it is `done`."""

    def __init__(self, query: Query, deadline: float) -> None:
        self.query = query
        self.deadline = deadline
        self.result: StoredSnapshot | None = None
        self.tier: TierName | None = None
        self._is_answered = False
        self._lock = threading.Lock()

    @property
    def done(self) -> bool:
        """Whether it is answered, or the time for it is over."""
        if not self._is_answered and time.monotonic() >= self.deadline:
            self.finish(None)
        return self._is_answered

    def is_wanted(self) -> bool:
        """The opposite of `done`."""
        return not self.done

    def finish(self, found: Found | None) -> None:
        """Answer it, unless it has been answered."""
        with self._lock:
            if not self._is_answered:
                if found is not None:
                    self.result, self.tier = found.stored, found.tier
                self._is_answered = True


class Fetcher:
    """One thread that answers fetches in order, each within `seconds` of its beginning.

    `on_found` is called there with each key that was found.
    """

    def __init__(
        self, lookup: Lookup, on_found: Callable[[bytes], None], seconds: float = FETCH_SECONDS
    ) -> None:
        self._lookup = lookup
        self._on_found = on_found
        self._seconds = seconds
        self._changed = threading.Condition()
        self._queue: deque[Fetch] = deque()
        self._pending: set[Fetch] = set()
        self._has_news = False
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="tiers-fetch", daemon=True)
        self._thread.start()

    def submit(self, query: Query) -> Fetch:
        """Begin a fetch. With too many on their way it is done at once, without a result."""
        fetch = Fetch(query, time.monotonic() + self._seconds)
        with self._changed:
            self._pending = {pending for pending in self._pending if not pending.done}
            if self._is_closed or len(self._pending) >= _MOST_PENDING:
                fetch.finish(None)
            else:
                self._pending.add(fetch)
                self._queue.append(fetch)
                self._changed.notify_all()
        return fetch

    def wait(self, seconds: float) -> None:
        """Until a fetch is done that was not when this last returned, or none is pending."""
        end = time.monotonic() + seconds
        with self._changed:
            while self._pending and not self._has_news:
                self._has_news = any(fetch.done for fetch in self._pending)
                until = min(end, *(fetch.deadline for fetch in self._pending)) - time.monotonic()
                if self._has_news or end <= time.monotonic():
                    break
                self._changed.wait(max(until, 0.0))
            self._pending = {fetch for fetch in self._pending if not fetch.done}
            self._has_news = False

    def abandon(self) -> None:
        """Let all fetches be done without a result."""
        with self._changed:
            for fetch in self._pending:
                fetch.finish(None)
            self._has_news = True
            self._changed.notify_all()

    def close(self, seconds: float) -> bool:
        """Abandon all and end the thread; False if it did not end in time."""
        with self._changed:
            self._is_closed = True
        self.abandon()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (fetch := self._next()) is not None:
            found = None
            if fetch.is_wanted():
                try:
                    found = self._lookup.find(fetch.query, fetch.is_wanted)
                except Exception:  # a fetch must be answered whatever happens
                    log.exception("fetching a snapshot failed")
            if found is not None:
                self._on_found(found.key)
            fetch.finish(found)
            with self._changed:
                self._pending.discard(fetch)
                self._has_news = True
                self._changed.notify_all()

    def _next(self) -> Fetch | None:
        with self._changed:
            while not self._queue and not self._is_closed:
                self._changed.wait()
            return None if self._is_closed else self._queue.popleft()
