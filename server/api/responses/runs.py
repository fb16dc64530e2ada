"""The responses that this server makes in the background, and the events of those it has made."""

from collections.abc import Iterator

from server.api.chunks import Chunk
from server.api.errors import ApiError
from server.api.responses.run import Run

FOLLOWED_SECONDS = 300.0
"""How long the events of a response are kept after its end, as OpenAI has it."""
FOLLOWED_BYTES = 64 << 20
"""Events that are kept of all of them; what is too much goes, first of those that have ended."""


class Runs:
    """By the ids of their responses, in the order in which they began."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._size = 0

    def __iter__(self) -> Iterator[tuple[str, Run]]:
        """Ids and runs, as they are now."""
        return iter(list(self._runs.items()))

    @property
    def running(self) -> int:
        """How many responses are being made."""
        return sum(run.ended_at is None for run in self._runs.values())

    def check_room(self, tenant: str, most: int, is_shared: bool) -> None:
        """Raise ApiError when no more of them may be made.

        If the server is shared, a tenant takes no more than it leaves to others.
        """
        free = most - self.running
        own = sum(run.ended_at is None and run.tenant == tenant for run in self._runs.values())
        if free <= 0 or (is_shared and own >= free):
            holder = "the server" if free <= 0 else "this key"
            message = f"Try again later: {holder} makes enough responses in the background"
            raise ApiError("queue_full", message, "background", retry_after=5.0)

    def get(self, ident: str) -> Run | None:
        """A run that can still be followed or stopped."""
        return self._runs.get(ident)

    def add(self, ident: str, run: Run) -> None:
        """One more, which has not begun."""
        self._runs[ident] = run

    def stop(self, ident: str) -> None:
        """End a run, if it is being made here."""
        run = self._runs.get(ident)
        if run is not None and run.can_be_stopped:
            run.stop()

    def remove(self, ident: str) -> None:
        """Without effect the second time."""
        run = self._runs.pop(ident, None)
        if run is not None:
            self._size -= run.size

    def tell(self, run: Run, events: list[Chunk]) -> None:
        """Add events to a run; others lose theirs if these are too many."""
        before = run.size
        run.tell(events)
        self._size += run.size - before
        if self._size > FOLLOWED_BYTES:
            self._forget_some()

    def end(self, ident: str, run: Run) -> None:
        """No more will come of it. One that nobody can follow is not needed any more."""
        run.end()
        if not run.is_streamed:
            self.remove(ident)

    def forget_old(self, now: float) -> None:
        """Those that ended too long ago, by the event loop's clock."""
        for ident, run in self:
            if run.ended_at is not None and now - run.ended_at > FOLLOWED_SECONDS:
                self.remove(ident)

    def _forget_some(self) -> None:
        self._size = sum(run.size for run in self._runs.values())
        for ident, run in self:
            if self._size > FOLLOWED_BYTES and run.ended_at is not None:
                self.remove(ident)
        while self._size > FOLLOWED_BYTES:
            largest = max(self._runs.values(), key=lambda run: run.size)
            self._size -= largest.size
            largest.forget_events()
