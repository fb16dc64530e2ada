"""The API side of the workers: requests in, one bounded stream of news out for each."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from server.pool.dispatcher import Dispatcher, Loss
from server.pool.inquiries import Inquiries, Send
from server.pool.records import WorkerLink
from server.protocol.cache_view import CacheReport
from server.protocol.engine_report import EngineReport
from server.protocol.messages import CacheQuery, EngineQuery
from server.protocol.outputs import RequestOutput, merged, parted, size_of
from server.protocol.task import Task

STREAM_TOKENS = 512
"""A stream with so many tokens that nobody has read puts its request to sleep."""

TURN_SIZE = 4096
"""About so many tokens and log-probabilities are taken at once: some milliseconds of work."""


class QueueFullError(Exception):
    """The server holds as many requests as it may; `retry_after` is in seconds."""

    def __init__(self, limit: int, retry_after: float) -> None:
        super().__init__(f"the server already holds {limit} requests")
        self.retry_after = retry_after


class NotReadyError(Exception):
    """No worker can take requests: `detail` says why; `retry_after` is in seconds."""

    def __init__(self, detail: str, retry_after: float = 2.0) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class OutputStream:
    """The outputs of one request: iterate until the output that has a finish reason.

    A slow reader gets what has come since it last looked as one output, or as several if it is
    more than TURN_SIZE. The request sleeps while STREAM_TOKENS or more wait to be read; those of
    the steps until the worker knows still come.
    """

    def __init__(
        self, on_abort: Callable[[], None], on_full: Callable[[bool], None] = lambda _: None
    ) -> None:
        """`on_full` is told that the request should sleep, or that it need not any more."""
        self._on_abort = on_abort
        self._on_full = on_full
        self._pending: deque[RequestOutput] = deque()
        self._pending_tokens = 0
        self._arrived = asyncio.Event()
        self._finished = False

    async def __aiter__(self) -> AsyncIterator[RequestOutput]:
        while True:
            output = await self.get()
            yield output
            if output.finish_reason is not None:
                return

    async def get(self) -> RequestOutput:
        """Wait for news; cancelling the wait loses nothing."""
        await self._arrived.wait()
        return self.take()

    def announce_to(self, arrived: asyncio.Event) -> None:
        """Set this event from now on when news arrive; it may serve several streams."""
        arrived_before = self._arrived
        self._arrived = arrived
        if arrived_before.is_set():
            arrived.set()

    @property
    def has_news(self) -> bool:
        """Whether take() would return something."""
        return bool(self._pending)

    def take(self) -> RequestOutput:
        """News since the last time as one output, or the first of them; there must be some."""
        taken = [self._pending.popleft()]
        size = size_of(taken[0]) if self._pending else 0
        while self._pending and size < TURN_SIZE:
            taken.append(self._pending.popleft())
            size += size_of(taken[-1])
        output = merged(taken)
        if not self._pending and output.finish_reason is None:
            self._arrived.clear()
        was_full = self._pending_tokens >= STREAM_TOKENS
        self._pending_tokens -= len(output.token_ids)
        if was_full and self._pending_tokens < STREAM_TOKENS and not self._finished:
            self._on_full(False)
        return output

    def put(self, output: RequestOutput) -> None:
        """Add news from the worker."""
        self._finished = output.finish_reason is not None
        self._pending += parted(output, TURN_SIZE)
        self._arrived.set()
        # Again at every multiple: a suspect that is tried alone is not put to sleep.
        times_full = self._pending_tokens // STREAM_TOKENS
        self._pending_tokens += len(output.token_ids)
        if self._pending_tokens // STREAM_TOKENS > times_full and not self._finished:
            self._on_full(True)

    def abort(self) -> None:
        """Stop the request wherever it is; without effect when it has finished."""
        if not self._finished:
            self._finished = True
            self._on_abort()


class EngineClient:
    """The requests of one model: bounded in number, each with a stream of its own.

    It takes requests while it is open, also when all workers are being started again: then they
    wait.
    """

    def __init__(
        self, max_requests: int, held: Callable[[], int] | None = None, slots: int = 32
    ) -> None:
        """`held` counts the requests against max_requests; without it, those of this client.

        A worker computes `slots` requests at once.
        """
        self.ready = False
        """Whether requests are taken."""
        self.detail = "starting"
        """Why not."""
        self._ended = False
        self.inquiries: Inquiries[CacheReport] = Inquiries()
        self.engine_inquiries: Inquiries[EngineReport] = Inquiries()
        self._dispatcher = Dispatcher(slots)
        self._max_requests = max_requests
        self._held = held or (lambda: self.active_requests)

    @property
    def active_requests(self) -> int:
        """Running and waiting requests in all."""
        return self._dispatcher.active_requests

    @property
    def workers(self) -> int:
        """How many are ready."""
        return len(self._dispatcher.links)

    def open(self) -> None:
        """Take requests from now on, unless all have been ended."""
        self.ready = not self._ended

    def close(self, detail: str) -> None:
        """Take no more requests and end those that no worker has; the others go on."""
        self.ready = False
        self.detail = detail
        self._dispatcher.fail_waiting(detail)

    def submit(self, task: Task, key: str = "") -> OutputStream:
        """Start a request. Raises NotReadyError or QueueFullError; never waits.

        Requests with the same key go to the same worker, unless another one has more of the prompt
        in its cache, or is much less busy.
        """
        if self.ready and self._held() >= self._max_requests:
            raise QueueFullError(self._max_requests, retry_after=1.0)
        return self.submit_admitted(task, key)

    def submit_admitted(self, task: Task, key: str = "") -> OutputStream:
        """The same for what belongs to a request that has finished: no limit applies."""
        if not self.ready:
            raise NotReadyError(self.detail)
        stream = OutputStream(
            lambda: self._dispatcher.drop(record),
            lambda asleep: self._dispatcher.set_asleep(record, asleep),
        )
        record = self._dispatcher.submit(task, stream.put, key)
        return stream

    def submit_background(self, task: Task) -> OutputStream | None:
        """Start what no client waits for; None if its worker has much to do.

        It ends with "abort" when a request needs its place, or when its worker is lost.
        """
        if not self.ready:
            return None
        stream = OutputStream(lambda: self._dispatcher.drop(record) if record else None)
        record = self._dispatcher.submit_background(task, stream.put)
        return stream if record else None

    def refuse_background(self) -> None:
        """End what no client waits for, and take no more of it."""
        self._dispatcher.refuse_background()

    async def cache_reports(
        self, clear: bool = False, clear_shared: bool = False
    ) -> dict[str, CacheReport | None]:
        """Of each worker by name; None of one that does not answer in time."""
        return await self.inquiries.ask(
            self._senders, lambda number: CacheQuery(number, clear, clear_shared)
        )

    async def engine_reports(self) -> dict[str, EngineReport | None]:
        """Of each worker by name; None of one that does not answer in time."""
        return await self.engine_inquiries.ask(self._senders, EngineQuery)

    def add(self, link: WorkerLink) -> None:
        """A worker is ready."""
        self._dispatcher.add(link)

    def deliver(self, link: WorkerLink, outputs: list[RequestOutput]) -> None:
        """Hand the outputs of one step to their streams; those of aborted requests are dropped."""
        self._dispatcher.deliver(link, outputs)

    def lose(self, link: WorkerLink) -> Loss:
        """A worker is gone: its requests go on on another one, or wait for one."""
        loss = self._dispatcher.lose(link)
        if not self.ready:
            self._dispatcher.fail_waiting(self.detail)
        return loss

    def fail_all(self, error: str) -> None:
        """End every request and never take one again: the server, or the model, is about to end."""
        self._ended = True
        self.close(error)
        self._dispatcher.fail_all(error)

    @property
    def _senders(self) -> dict[str, Send]:
        return {link.name: link.send for link in self._dispatcher.links}
