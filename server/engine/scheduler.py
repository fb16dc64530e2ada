"""Decides what each step computes. Touches no array and no text."""

from collections import deque
from collections.abc import Iterable
from itertools import islice
from operator import attrgetter

from server.engine.batch import Batch, BatchResult, Chunk
from server.engine.prefix_cache import PrefixCache
from server.engine.request import Request, Status

_LOOK_AHEAD = 64
"""Waiting requests that may be admitted before one that waits for another's prefill."""


class Scheduler:
    """Continuous batching: requests join and leave at every step.

    Every running request that only needs its next token gets one; what is left of the step's token
    budget goes to prompts, in the order of arrival, those in the background last, cut into chunks.
    A chunk ends where a snapshot is to be taken. A request that shares a prefix with one in prefill
    waits until that is done with it, and then begins with the snapshot; whether it still has to
    wait is asked in every step, so that it does not matter how the other ends.
    """

    def __init__(self, max_batch: int, step_tokens: int, cache: PrefixCache) -> None:
        self.waiting: deque[Request] = deque()
        self.running: list[Request] = []
        self._requests: dict[str, Request] = {}
        self._max_batch = max_batch
        # Each running request must be able to advance in each step.
        self._step_tokens = max(step_tokens, max_batch)
        self._cache = cache

    @property
    def has_work(self) -> bool:
        """Whether some request is waiting or running."""
        return bool(self._requests)

    def add(self, request: Request) -> None:
        """Queue a new request."""
        self._requests[request.request_id] = request
        self.waiting.append(request)

    def get(self, request_id: str) -> Request | None:
        """The request with this id, unless it has finished."""
        return self._requests.get(request_id)

    def schedule(self) -> Batch:
        """Admit what fits and cut the next step's chunks."""
        if self.waiting and len(self.running) < self._max_batch:
            self._admit(list(islice(self.waiting, _LOOK_AHEAD)))
        budget = self._step_tokens - sum(map(_is_decoding, self.running))
        chunks = []
        for request in sorted(self.running, key=attrgetter("background")):
            tokens = len(request.token_ids) - request.computed
            if tokens > 1:
                tokens = min(tokens, budget, request.until_stop())
                budget -= tokens
                if tokens == 0:
                    continue
            chunks.append(Chunk(request, tokens))
        return Batch(chunks)

    def update(self, batch: Batch, result: BatchResult, finished: list[Request]) -> None:
        """Note what was computed, append sampled tokens, and drop what has finished."""
        for chunk in batch.chunks:
            request = chunk.request
            if request.request_id in result.sampled:
                new = [result.sampled[request.request_id]]
            else:
                new = request.known_ids if chunk.samples else []
            request.computed += chunk.length
            request.token_ids += new
        for request in finished:
            self.remove(request)

    def remove(self, request: Request) -> None:
        """Drop a request at whatever stage it is."""
        del self._requests[request.request_id]
        if request.status is Status.WAITING:
            self.waiting.remove(request)
        else:
            self.running.remove(request)
        request.status = Status.FINISHED

    def _admit(self, candidates: Iterable[Request]) -> None:
        for request in candidates:
            if len(self.running) == self._max_batch:
                return
            if self._cache.must_wait(request, self.running):
                continue
            self._cache.begin(request)
            self.waiting.remove(request)
            request.status = Status.RUNNING
            self.running.append(request)


def _is_decoding(request: Request) -> bool:
    return len(request.token_ids) - request.computed == 1
