"""What a request takes from the state cache, and what it leaves there."""

from collections.abc import Iterable
from dataclasses import replace
from hashlib import blake2b

import numpy as np

from server.engine.prompt_logprobs import PromptLogprobsCache
from server.engine.request import Request
from server.engine.restoring import Restorer
from server.protocol.cache_use import SnapshotKind
from server.protocol.cache_view import RECENT_ENTRIES, CacheCounters, CacheReport
from server.state_cache.snapshot import Snapshot
from server.state_cache.state_cache import JUNCTION_TOKENS, StateCache
from server.state_cache.tiers import SnapshotTiers

SPACING = 256
"""Snapshots are taken so many tokens before the end of a prompt, twice as many, and so on: another
question about the same document parts near the end, and then reads this much again at most."""

_WAIT_SECONDS = 0.01  # new requests and aborts are not looked at meanwhile


class PrefixCache:
    """The state cache as scheduler, runner and engine use it; without one nothing is ever kept."""

    def __init__(self, cache: StateCache | None, tiers: SnapshotTiers | None = None) -> None:
        """Without a cache the tiers are of no use."""
        self._cache = cache
        self._not_asked = 0
        self._logprobs = PromptLogprobsCache()
        self._tiers = tiers if cache is not None else None
        self._restorer = Restorer(cache, tiers) if cache is not None and tiers else None

    def must_wait(self, request: Request, running: Iterable[Request]) -> bool:
        """Whether a snapshot that saves this one much may soon be there.

        It comes from the tiers below memory, or from a running request. That is made to stop there,
        and is in the background no longer; if it leaves nothing on its own account, it is waited
        for at its boundaries only.
        """
        if self._cache is None or not request.use.reads:
            return False
        scores = request.scores_whole_prompt
        if self._restorer is not None and not scores and self._restorer.is_busy_for(request):
            return True
        for other in running:
            if other.in_prefill and other.use.writes and _can_follow(request, other):
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
        self._not_asked += not request.use.reads
        known = self._begin_scoring(request)
        junction = 0
        if request.use.reads:
            at_most = request.most_cached if known is None else min(known, request.most_cached)
            match = self._cache.match(request.namespace, request.prompt_array, at_most)
            request.snapshot, request.computed = match.snapshot, match.tokens
            request.cached = match.tokens
            junction = match.junction if known is None else known
        if request.use.writes:
            request.stops = _stops(request, junction)

    def _begin_scoring(self, request: Request) -> int | None:
        """After how many tokens at most a request may begin, if it wants logprobs of its prompt.

        To begin there is to compute those of the token after the next one, and so on. After the
        last token nothing is left to be computed.
        """
        scores = request.prompt_logprobs
        if scores is None:
            return None
        if scores.is_whole:
            self._logprobs.begin(request.namespace, scores, request.use.reads, request.use.writes)
        return scores.known if scores.complete else scores.known - 1

    def store(self, request: Request, snapshot: Snapshot, kind: SnapshotKind) -> None:
        """Keep what a request was after some of its tokens."""
        assert self._cache is not None
        if snapshot.logits is not None and not np.isfinite(snapshot.logits).all():
            return
        path = request.token_ids[: snapshot.tokens]
        handle = self._cache.insert(request.namespace, path, snapshot, kind)
        if handle is not None and snapshot.tokens <= len(request.prompt_ids):
            request.written = snapshot.tokens - request.cached
        if self._tiers is not None:
            self._tiers.put(request.namespace, np.array(path, np.int32), snapshot, kind)

    def report(self) -> CacheReport:
        """What an operator wants to know."""
        if self._cache is None:
            return CacheReport(0, CacheCounters(), {}, [])
        tiers = self._tiers.counters() if self._tiers is not None else {}
        entries = sorted(self._cache.entries(), key=lambda entry: entry.idle_seconds)
        # Which belong together is to be seen, but nobody's salt.
        recent = [
            replace(entry, namespace=blake2b(entry.namespace.encode(), digest_size=4).hexdigest())
            for entry in entries[:RECENT_ENTRIES]
        ]
        counters = replace(self._cache.counters, not_asked=self._not_asked)
        return CacheReport(self._cache.limit_bytes, counters, tiers, recent)

    def clear(self, shared: bool) -> None:
        """Forget everything in memory and on disk, and if asked for what nodes share."""
        self._logprobs.clear()
        if self._cache is not None:
            self._cache.clear()
        if self._tiers is not None:
            self._tiers.clear(shared)

    def wait(self) -> None:
        """Let a fetch from the tiers come to an end: there is nothing to compute without it."""
        if self._tiers is not None:
            self._tiers.wait(_WAIT_SECONDS)

    def idle(self) -> None:
        """There is nothing to compute for now: a good time to write."""
        if self._tiers is not None:
            self._tiers.idle()

    def close(self, seconds: float) -> None:
        """Write what is still to be written, for at most so long."""
        if self._tiers is not None:
            self._tiers.flush(seconds)
            self._tiers.close()

    def keeps_replies_of(self, request: Request) -> bool:
        """Whether the end of what a request has generated is worth a snapshot."""
        use = request.use
        if self._cache is None or not (use.writes and use.implicit) or request.slot < 0:
            return False
        if request.token_ids[-1] < 0:  # nothing could be sampled: the state is of no use
            return False
        return request.computed > max(len(request.prompt_ids), request.cached)


def _can_follow(request: Request, other: Request) -> bool:
    """Whether a snapshot of the other one is of use; to one who scores all, with its scores."""
    if request.scores_whole_prompt and not (
        other.scores_whole_prompt and other.params.prompt_logprobs == request.params.prompt_logprobs
    ):
        return False
    return other.namespace == request.namespace


def _stops(request: Request, junction: int) -> dict[int, SnapshotKind]:
    """After how many tokens of a prompt snapshots are taken, beyond what it begins with."""
    length = len(request.prompt_ids)
    stops: dict[int, SnapshotKind] = {}
    if request.use.implicit:
        # Prompts are scored in great numbers; few of these states are worth the disk.
        scores = request.prompt_logprobs is not None
        stops[junction] = "spaced" if scores else "junction"
        distance = SPACING
        while distance < length:
            stops[length - distance] = "spaced"
            distance *= 2
        if not scores:
            stops[length] = "prompt" if request.params.max_tokens else "breakpoint"
        elif request.params.max_tokens > 1:  # else nobody will go on from there
            stops[length] = "prompt"
    stops |= request.use.boundaries
    # A stop costs a step more, so it has to be worth that; the prompt's end costs none.
    first = request.computed + JUNCTION_TOKENS
    return {at: kind for at, kind in stops.items() if first <= at < length or at == length}


def _usable_prefix(request: Request, other: Request) -> int:
    """How many tokens of both prompts are the same and of use.

    To sample after the last one takes its logits, which are computed at the end of a prompt only;
    and so do the logprobs of the token with which the prompts part.
    """
    shared = request.shared.get(other.request_id)
    if shared is None:
        length = min(len(request.prompt_array), len(other.prompt_array))
        mine, theirs = request.prompt_array[:length], other.prompt_array[:length]
        different = np.flatnonzero(mine != theirs)
        shared = int(different[0]) if len(different) else length
        if shared < max(len(request.prompt_ids), len(other.prompt_ids)) and (
            shared == len(request.prompt_ids) or request.scores_whole_prompt
        ):
            shared -= 1
        shared = min(shared, request.most_cached)
        request.shared[other.request_id] = shared
    return shared
