"""The API side of the workers: requests in, one bounded stream of news out for each."""

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from server.workers.inquiries import Inquiries
from server.workers.messages import (
    Abort,
    CacheReport,
    Generate,
    RequestOutput,
    Task,
    ToWorker,
)

MOST_AHEAD = 4
"""So many more requests than another a worker may have and still get what belongs to it."""


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

    A slow reader gets all that has come since it last looked as one output.
    """

    def __init__(self, request_id: str, worker: int, on_abort: Callable[[str], None]) -> None:
        self.request_id = request_id
        self.worker = worker
        self._on_abort = on_abort
        self._pending: list[RequestOutput] = []
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
        output = _merge(self._pending)
        self._pending = []
        if output.finish_reason is None:
            self._arrived.clear()
        return output

    def put(self, output: RequestOutput) -> None:
        """Add news from the worker."""
        self._finished = output.finish_reason is not None
        self._pending.append(output)
        self._arrived.set()

    def abort(self) -> None:
        """Stop the request wherever it is; without effect when it has finished."""
        if not self._finished:
            self._finished = True
            self._on_abort(self.request_id)


def _merge(outputs: list[RequestOutput]) -> RequestOutput:
    if len(outputs) == 1:
        return outputs[0]
    return RequestOutput(
        request_id=outputs[-1].request_id,
        text="".join(output.text for output in outputs),
        token_ids=[token for output in outputs for token in output.token_ids],
        finish_reason=outputs[-1].finish_reason,
        error=outputs[-1].error,
        cached_tokens=sum(output.cached_tokens for output in outputs),
        written_tokens=sum(output.written_tokens for output in outputs),
        state=outputs[-1].state,
    )


@dataclass
class WorkerLink:
    """What the client knows of one worker: how to send to it, and the requests it holds."""

    send: Callable[[ToWorker], None]
    ready: bool = False
    streams: dict[str, OutputStream] = field(default_factory=dict)
    background: dict[str, OutputStream] = field(default_factory=dict)
    """What no client waits for; not counted as requests."""


class EngineClient:
    """Routes requests to the least loaded ready worker of a model and outputs to their streams."""

    def __init__(
        self, max_requests: int, held: Callable[[], int] | None = None, slots: int = 32
    ) -> None:
        """`held` counts the requests against max_requests; without it, those of this client.

        A worker computes `slots` requests at once.
        """
        self.links: list[WorkerLink] = []
        self.inquiries = Inquiries()
        self.detail = "starting"
        self._max_requests = max_requests
        self._held = held or (lambda: self.active_requests)
        self._slots = slots
        self._takes_background = True
        self._numbers = itertools.count(1)

    @property
    def ready(self) -> bool:
        """Whether some worker accepts requests."""
        return any(link.ready for link in self.links)

    @property
    def active_requests(self) -> int:
        """Running and waiting requests in all."""
        return sum(len(link.streams) for link in self.links)

    def submit(self, task: Task, key: str = "") -> OutputStream:
        """Start a request. Raises NotReadyError or QueueFullError; never waits.

        Requests with the same key go to the same worker, unless that is much busier than another.
        """
        ready = [number for number, link in enumerate(self.links) if link.ready]
        if not ready:
            raise NotReadyError(self.detail)
        if self._held() >= self._max_requests:
            raise QueueFullError(self._max_requests, retry_after=1.0)
        worker = self._choose(ready, key)
        link = self.links[worker]
        if len(link.streams) + len(link.background) >= self._slots:
            _end_background(link)  # it would have to wait for a slot
        return self._start(worker, task, link.streams)

    def submit_after(self, finished: OutputStream, task: Task) -> OutputStream:
        """Go on with a request that has finished, on its worker, which has its cached states.

        It was admitted, so no limit applies, and there is at most one of these for it. Raises
        NotReadyError.
        """
        link = self.links[finished.worker]
        if not link.ready:
            raise NotReadyError(self.detail)
        return self._start(finished.worker, task, link.streams)

    def submit_background(self, task: Task, worker: int) -> OutputStream | None:
        """Start what no client waits for, at one worker; None if that has much to do.

        It ends with "abort" when a request needs its place.
        """
        link = self.links[worker]
        busy = len(link.streams) + len(link.background) >= max(1, self._slots // 2)
        if busy or not link.ready or not self._takes_background:
            return None
        return self._start(worker, task, link.background)

    def refuse_background(self) -> None:
        """End what no client waits for, and take no more of it."""
        self._takes_background = False
        for link in self.links:
            _end_background(link)

    async def cache_reports(
        self, clear: bool = False, clear_shared: bool = False
    ) -> list[CacheReport | None]:
        """Of each worker; None of one that is not ready or does not answer in time."""
        workers = [link.send if link.ready else None for link in self.links]
        return await self.inquiries.ask(workers, clear, clear_shared)

    def deliver(self, link: WorkerLink, outputs: list[RequestOutput]) -> None:
        """Hand the outputs of one step to their streams; those of aborted requests are dropped."""
        for output in outputs:
            in_background = output.request_id in link.background
            streams = link.background if in_background else link.streams
            stream = streams.get(output.request_id)
            if stream is None:
                continue
            if output.finish_reason is not None:
                del streams[output.request_id]
            stream.put(output)

    def fail(self, link: WorkerLink, error: str) -> None:
        """The worker is gone: end every request that it held."""
        link.ready = False
        for streams in (link.streams, link.background):
            for request_id, stream in streams.items():
                stream.put(RequestOutput(request_id, "", [], "error", error))
            streams.clear()

    def fail_all(self, error: str) -> None:
        """End every request: the server is about to."""
        for link in self.links:
            self.fail(link, error)

    def _choose(self, ready: list[int], key: str) -> int:
        """One of the ready workers."""
        least = min(ready, key=lambda worker: len(self.links[worker].streams))
        if not key:
            return least
        # Rendezvous hashing: when a worker comes or goes, only its own keys move.
        own = max(ready, key=lambda worker: _rank(key, worker))
        ahead = len(self.links[own].streams) - len(self.links[least].streams)
        return own if ahead <= MOST_AHEAD else least

    def _start(self, worker: int, task: Task, streams: dict[str, OutputStream]) -> OutputStream:
        link = self.links[worker]
        request_id = f"r{next(self._numbers)}"

        def on_abort(request_id: str) -> None:
            if streams.pop(request_id, None) is not None:
                link.send(Abort(request_id))

        stream = OutputStream(request_id, worker, on_abort)
        streams[request_id] = stream
        link.send(Generate(request_id, task))
        return stream


def _end_background(link: WorkerLink) -> None:
    for request_id, stream in link.background.items():
        link.send(Abort(request_id))
        stream.put(RequestOutput(request_id, "", [], "abort"))
    link.background.clear()


def _rank(key: str, worker: int) -> bytes:
    return hashlib.blake2b(f"{worker} {key}".encode(), digest_size=8).digest()
