"""Leaves alone for a while what has failed."""

import logging
import threading
import time
from collections.abc import Callable

from server.state_cache.store import StoreUnavailable

log = logging.getLogger(__name__)


class CircuitBreaker:
    """After a failure refuses for `first_seconds`, after the next in a row for twice that, up to
    `most_seconds`. Logs one warning when it begins to refuse and one line when all is well again.
    """

    def __init__(
        self,
        what: str,
        first_seconds: float,
        most_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._first, self._most = first_seconds, most_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._pause = 0.0  # 0: nothing has failed since the last success
        self._until = 0.0

    def check(self) -> None:
        """Raises StoreUnavailable while it is too early to try again."""
        with self._lock:
            if self._pause and self._clock() < self._until:
                raise StoreUnavailable(f"{self._what}: unavailable")

    def failed(self, why: str) -> None:
        """Note a failure. One that comes while it refuses began before that and changes nothing."""
        with self._lock:
            now = self._clock()
            if self._pause and now < self._until:
                return
            if not self._pause:
                log.warning("%s: %s; goes on without", self._what, why)
            self._pause = min(self._pause * 2 or self._first, self._most)
            self._until = now + self._pause

    def succeeded(self) -> None:
        """Note that it works."""
        with self._lock:
            if self._pause:
                log.info("%s: works again", self._what)
            self._pause = 0.0
