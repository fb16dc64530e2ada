"""Which entry of a cache to give up first."""

import heapq
from collections.abc import Callable

_SCAN = 64  # entries whose worth is computed anew at most for one pop


class EvictionQueue:
    """Entries by what they are worth, the least first.

    An entry's worth may rise at any time without notice (it is hit, or what could stand in for it
    is gone); the queue holds a lower bound and computes anew what comes to its front. So only a
    fall needs a call, and a hit costs nothing here. When _SCAN entries in a row prove worth more
    than their bound, the least of those goes. A pop thus takes O(log n), as every call does, but
    for the removal of dead items, which is O(n) once in n calls.
    """

    def __init__(self, worth: Callable[[int], float]) -> None:
        self._worth = worth
        self._bounds: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []

    @property
    def handles(self) -> set[int]:
        """What is queued."""
        return set(self._bounds)

    def add(self, handle: int) -> None:
        """Queue an entry."""
        self._push(handle, self._worth(handle))

    def discard(self, handle: int) -> None:
        """Take an entry out, if it is queued."""
        self._bounds.pop(handle, None)
        self._tidy()

    def fell(self, handle: int) -> None:
        """An entry may be worth less than before; one that is not queued is ignored."""
        bound = self._bounds.get(handle)
        if bound is not None:
            worth = self._worth(handle)
            if worth < bound:
                self._push(handle, worth)

    def pop(self) -> int | None:
        """Take out the entry that is worth least; None if the queue is empty."""
        anew: list[tuple[float, int]] = []
        while self._heap and len(anew) < _SCAN:
            bound, handle = heapq.heappop(self._heap)
            if self._bounds.get(handle) != bound:
                continue  # discarded, or there is a newer item
            worth = self._worth(handle)
            if worth <= bound:
                del self._bounds[handle]
                return handle
            self._push(handle, worth)
            anew.append((worth, handle))
        if not anew:
            return None
        handle = min(anew)[1]
        self.discard(handle)
        return handle

    def check_integrity(self) -> None:
        """For tests: raises AssertionError if a queued entry can never come to the front."""
        items = set(self._heap)
        for handle, bound in self._bounds.items():
            assert (bound, handle) in items, f"entry {handle} has no item"

    def _push(self, handle: int, worth: float) -> None:
        self._bounds[handle] = worth
        heapq.heappush(self._heap, (worth, handle))
        self._tidy()

    def _tidy(self) -> None:
        """Drop dead items once they are the most."""
        if len(self._heap) > 2 * len(self._bounds) + _SCAN:
            self._heap = [(bound, queued) for queued, bound in self._bounds.items()]
            heapq.heapify(self._heap)
