"""Things that are done so many at once, of which no tenant takes more than it leaves to others."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from server.api.errors import ApiError

_RETRY_SECONDS = 5.0


class Places:
    """For the event loop's thread. What they are for is done with `most` at once."""

    def __init__(self, most: int, noun: str) -> None:
        """`noun` is what errors call them."""
        self.is_shared: Callable[[], bool] = lambda: False
        """Whether there are others to leave something to."""
        self._most = most
        self._noun = noun
        self._taken = Counter[str]()

    @contextmanager
    def taken(self, tenant: str) -> Iterator[None]:
        """A place until the context is left. Raises ApiError when there is none."""
        free = self._most - self._taken.total()
        own = self._taken[tenant]
        if free <= 0 or (self.is_shared() and own >= free):
            holder = "the server" if free <= 0 else "this key"
            message = f"Try again later: {holder} has enough {self._noun} at once"
            raise ApiError("queue_full", message, retry_after=_RETRY_SECONDS)
        self._taken[tenant] += 1
        try:
            yield
        finally:
            self._taken -= Counter({tenant: 1})
