"""Decides what each step computes. Touches no array, no text and no clock."""

from server.engine.batch import Batch, BatchResult, Chunk
from server.engine.prefill_order import PrefillOrder
from server.engine.prefix_cache import PrefixCache
from server.engine.request import Request, Status
from server.engine.step_cost import StepCost
from server.engine.waiting_queue import WaitingQueue

_SLOWDOWN = 2.5
"""A step may take so many times as long as one of its decoding requests alone."""

_LEAST_PROMPT_TOKENS = 8
"""Prompts advance in every step; kernels compute so many tokens at once, and fewer cost as much."""

_LOOK_AHEAD = 64
"""Waiting requests that are looked at in a step."""

_SECOND_LOOKS = 32
"""How many of them had to wait for another's prefill when they were looked at before."""


class Scheduler:
    """Continuous batching: requests join and leave at every step.

    Every running request that only needs its next token gets one. Prompts are read in chunks: of
    all of the step's tokens if nobody decodes, else of as many as the time allows that a step may
    take. WaitingQueue says who gets a slot next, PrefillOrder whose prompt is read.

    A chunk ends where a snapshot is to be taken. A request that shares a prefix with one in prefill
    waits until that is done with it, and then begins with the snapshot; whether it still has to
    wait is asked again and again, so that it does not matter how the other ends.

    A request that sleeps keeps its slot until somebody waits for one; then it is parked.
    """

    def __init__(
        self, max_batch: int, step_tokens: int, cache: PrefixCache, step_seconds: float = 0.0
    ) -> None:
        """Steps with prompts may take `step_seconds` in any case, however fast decoding is."""
        self.waiting = WaitingQueue()
        self.running: list[Request] = []
        self._requests: dict[str, Request] = {}
        self._asleep: dict[str, Request] = {}  # with a slot, the longest first
        self._parked: set[str] = set()
        self._order = PrefillOrder()
        self._cost = StepCost()
        self._max_batch = max_batch
        # Each running request must be able to advance in each step.
        self._step_tokens = max(step_tokens, max_batch)
        self._step_seconds = step_seconds
        self._cache = cache

    @property
    def has_work(self) -> bool:
        """Whether a step would get on with some request: not if all that could do so sleep."""
        return len(self.running) > len(self._asleep) or self._can_admit

    def add(self, request: Request) -> None:
        """Queue a new request."""
        self._requests[request.request_id] = request
        self.waiting.add(request)

    def get(self, request_id: str) -> Request | None:
        """The request with this id, unless it has finished."""
        return self._requests.get(request_id)

    def schedule(self) -> Batch:
        """Admit what fits and cut the next step's chunks."""
        parked, admitted = self._admit() if self._can_admit else ([], [])
        awake = [request for request in self.running if not request.asleep]
        prefilling = [request for request in awake if request.uncomputed > 1]
        budget = self._prompt_tokens(len(awake) - len(prefilling))
        lengths = self._order.share(prefilling, budget)
        chunks = []
        for request in awake:
            if request.uncomputed <= 1:
                chunks.append(Chunk(request, request.uncomputed))
            elif request in lengths:
                chunks.append(Chunk(request, lengths[request]))
        return Batch(chunks, parked, admitted)

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

    def observe(self, batch: Batch, seconds: float) -> None:
        """The step of a batch took so long."""
        if batch.tokens:
            self._cost.observe(batch.tokens, seconds)

    def sleep(self, request: Request) -> None:
        """Schedule nothing of a request until wake()."""
        if request.asleep:
            return
        request.asleep = True
        if request.status is Status.RUNNING:
            self._asleep[request.request_id] = request
        else:
            self.waiting.remove(request)
            request.status = Status.PARKED
            if request.begun:
                self._parked.add(request.request_id)

    def wake(self, request: Request) -> None:
        """Go on with a request; if it was parked, it is the next of its tenant."""
        request.asleep = False
        self._asleep.pop(request.request_id, None)
        self._parked.discard(request.request_id)
        if request.status is Status.PARKED:
            self.waiting.add(request, first=True)
            request.status = Status.WAITING

    def remove(self, request: Request) -> None:
        """Drop a request at whatever stage it is."""
        del self._requests[request.request_id]
        self._asleep.pop(request.request_id, None)
        self._parked.discard(request.request_id)
        if request.status is Status.WAITING:
            self.waiting.remove(request)
        elif request.status is Status.RUNNING:
            self.running.remove(request)
        request.status = Status.FINISHED

    @property
    def _can_admit(self) -> bool:
        """Whether somebody waits, and there is a slot or one can be had by parking its owner.

        As many states as there are slots may be parked: they take as much memory.
        """
        can_park = bool(self._asleep) and len(self._parked) < self._max_batch
        return len(self.waiting) > 0 and (len(self.running) < self._max_batch or can_park)

    def _admit(self) -> tuple[list[Request], list[Request]]:
        """Give slots to waiting requests; return who was parked for it, and who never had one."""
        parked, admitted = [], []
        awake = [request for request in self.running if not request.asleep]
        self.waiting.bring_back(_SECOND_LOOKS)
        for _ in range(_LOOK_AHEAD):
            request = self.waiting.next()
            if request is None or not self._can_admit:
                break
            if not request.begun and (
                request.is_compiling or self._cache.must_wait(request, awake)
            ):
                self.waiting.set_aside(request)
                continue
            if len(self.running) == self._max_batch:
                parked.append(self._park())
            self.waiting.take(request)
            if not request.begun:
                self._cache.begin(request)
                admitted.append(request)
            request.begun = True
            request.status = Status.RUNNING
            self.running.append(request)
            awake.append(request)
        return parked, admitted

    def _park(self) -> Request:
        """Take the slot of the one that has slept longest."""
        request = self._asleep.pop(next(iter(self._asleep)))
        self.running.remove(request)
        request.status = Status.PARKED
        self._parked.add(request.request_id)
        return request

    def _prompt_tokens(self, decoding: int) -> int:
        """How many tokens of prompts a step may have beside so many requests that decode."""
        room = self._step_tokens - decoding
        if not decoding:
            return room
        seconds = max(_SLOWDOWN * self._cost.predict(decoding), self._step_seconds)
        within = self._cost.tokens_within(seconds) - decoding
        return min(room, max(_LEAST_PROMPT_TOKENS, within))
