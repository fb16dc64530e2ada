"""What a request takes from the state cache, and what it leaves there."""

from collections.abc import Iterable

import numpy as np

from server.engine.request import Request
from server.engine.state_cache import JUNCTION_TOKENS, StateCache
from server.snapshots.snapshot import Snapshot, SnapshotKind

SPACING = 256
"""Snapshots are taken so many tokens before the end of a prompt, twice as many, and so on: another
question about the same document parts near the end, and then reads this much again at most."""


class PrefixCache:
    """The state cache as scheduler, runner and engine use it; without one nothing is ever kept."""

    def __init__(self, cache: StateCache | None) -> None:
        self._cache = cache

    def must_wait(self, request: Request, running: Iterable[Request]) -> bool:
        """Whether a running request will soon leave a snapshot that saves this one much.

        If so, the running one is made to stop there, and is in the background no longer. One that
        leaves nothing on its own account is waited for at its boundaries only.
        """
        if self._cache is None or not request.use.reads:
            return False
        for other in running:
            if other.in_prefill and other.use.writes and other.namespace == request.namespace:
                shared = _usable_prefix(request, other)
                if not other.use.implicit:
                    shared = max((stop for stop in other.stops if stop <= shared), default=0)
                if shared > other.computed and shared - other.cached >= JUNCTION_TOKENS:
                    other.stops.setdefault(shared, "junction")
                    other.background = False
                    return True
        return False

    def begin(self, request: Request) -> None:
        """Let a request begin after what is known of its prompt, and plan where it stops."""
        if self._cache is None or not request.prompt_ids:
            return
        junction = 0
        if request.use.reads:
            match = self._cache.match(request.namespace, request.prompt_array)
            request.snapshot, request.computed = match.snapshot, match.tokens
            request.cached, junction = match.tokens, match.junction
        if request.use.writes:
            request.stops = _stops(request, junction)

    def store(self, request: Request, snapshot: Snapshot, kind: SnapshotKind) -> None:
        """Keep what a request was after some of its tokens."""
        assert self._cache is not None
        if snapshot.logits is not None and not np.isfinite(snapshot.logits).all():
            return
        path = request.token_ids[: snapshot.tokens]
        handle = self._cache.insert(request.namespace, path, snapshot, kind)
        if handle is not None and snapshot.tokens <= len(request.prompt_ids):
            request.written = snapshot.tokens - request.cached

    def keeps_replies_of(self, request: Request) -> bool:
        """Whether the end of what a request has generated is worth a snapshot."""
        use = request.use
        if self._cache is None or not (use.writes and use.implicit) or request.slot < 0:
            return False
        if request.token_ids[-1] < 0:  # nothing could be sampled: the state is of no use
            return False
        return request.computed > max(len(request.prompt_ids), request.cached)


def _stops(request: Request, junction: int) -> dict[int, SnapshotKind]:
    """After how many tokens of a prompt snapshots are taken, beyond what it begins with."""
    length = len(request.prompt_ids)
    stops: dict[int, SnapshotKind] = {}
    if request.use.implicit:
        stops[junction] = "junction"
        distance = SPACING
        while distance < length:
            stops[length - distance] = "spaced"
            distance *= 2
        stops[length] = "prompt" if request.params.max_tokens else "breakpoint"
    stops |= request.use.boundaries
    # A stop costs a step more, so it has to be worth that; the prompt's end costs none.
    first = request.computed + JUNCTION_TOKENS
    return {at: kind for at, kind in stops.items() if first <= at < length or at == length}


def _usable_prefix(request: Request, other: Request) -> int:
    """How many tokens of both prompts are the same and of use: to sample after the last one takes
    its logits, which are computed at the end of a prompt only.
    """
    shared = request.shared.get(other.request_id)
    if shared is None:
        length = min(len(request.prompt_array), len(other.prompt_array))
        mine, theirs = request.prompt_array[:length], other.prompt_array[:length]
        different = np.flatnonzero(mine != theirs)
        shared = int(different[0]) if len(different) else length
        if shared == len(request.prompt_ids) != len(other.prompt_ids):
            shared -= 1
        request.shared[other.request_id] = shared
    return shared
