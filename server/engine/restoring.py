"""Snapshots that come back into memory from the tiers below it, before their requests begin."""

from server.engine.request import Request
from server.state_cache.fetching import Fetch
from server.state_cache.state_cache import JUNCTION_TOKENS, StateCache
from server.state_cache.tiers import SnapshotTiers


class Restorer:
    """Asks the tiers for what memory lacks; a request waits as long as that takes, others go on.

    In a namespace one request asks after the other: what the first one gets may serve the second.
    """

    def __init__(self, cache: StateCache, tiers: SnapshotTiers) -> None:
        self._cache = cache
        self._tiers = tiers
        self._fetches: dict[str, Fetch] = {}

    def is_busy_for(self, request: Request) -> bool:
        """Whether a request should wait: for its own fetch, or for the turn to ask for it."""
        if request.restored:
            return False
        if request.fetch is None and not self._ask(request):
            return not request.restored
        assert request.fetch is not None
        if request.fetch.done:
            self._take_in(request, request.fetch)
        return not request.restored

    def _ask(self, request: Request) -> bool:
        """Begin a fetch, unless it is another one's turn or not worth it."""
        # With the token that follows: a snapshot of all ids would be of no use without logits.
        ids = request.prompt_array[: request.most_cached + 1]
        if len(ids) >= JUNCTION_TOKENS:
            last = self._fetches.get(request.namespace)
            if last is not None and not last.done:
                return False
            # To bring a snapshot back must be worth what it must be worth to take one.
            beyond = self._cache.depth(request.namespace, ids) + JUNCTION_TOKENS - 1
            if beyond < len(ids):
                request.fetch = self._tiers.fetch(request.namespace, ids, beyond)
                pending = {name: each for name, each in self._fetches.items() if not each.done}
                self._fetches = pending | {request.namespace: request.fetch}
                return True
        request.restored = True
        return False

    def _take_in(self, request: Request, fetch: Fetch) -> None:
        request.restored = True
        if fetch.result is not None:
            snapshot = fetch.result.snapshot
            path = request.prompt_array[: snapshot.tokens]
            self._cache.insert(request.namespace, path, snapshot, "restored")
        request.fetch = None
