"""The API side of the workers: requests in, one bounded stream of news out for each."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from server.workers.messages import (
    Abort,
    Generate,
    RequestOutput,
    Sleep,
    Task,
    ToWorker,
    Wake,
)

STREAM_TOKENS = 512
"""A stream with so many tokens that nobody has read puts its request to sleep."""


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

    A slow reader gets all that has come since it last looked as one output. The request sleeps
    while STREAM_TOKENS or more wait to be read; those of the steps until the worker knows still
    come. `send` takes the messages that say so.
    """

    def __init__(
        self,
        request_id: str,
        on_abort: Callable[[str], None],
        send: Callable[[ToWorker], None],
    ) -> None:
        self.request_id = request_id
        self._on_abort = on_abort
        self._send = send
        self._pending: list[RequestOutput] = []
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
        output = _merge(self._pending)
        self._pending = []
        if output.finish_reason is None:
            self._arrived.clear()
        full = self._pending_tokens >= STREAM_TOKENS
        self._pending_tokens = 0
        if full and not self._finished:
            self._send(Wake(self.request_id))
        return output

    def put(self, output: RequestOutput) -> None:
        """Add news from the worker."""
        self._finished = output.finish_reason is not None
        self._pending.append(output)
        self._arrived.set()
        # Again at every multiple: a worker that takes a request over does not know that it sleeps.
        times_full = self._pending_tokens // STREAM_TOKENS
        self._pending_tokens += len(output.token_ids)
        if self._pending_tokens // STREAM_TOKENS > times_full and not self._finished:
            self._send(Sleep(self.request_id))

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


class EngineClient:
    """Routes requests to the least loaded ready worker of a model and outputs to their streams."""

    def __init__(self, max_requests: int, held: Callable[[], int] | None = None) -> None:
        """`held` counts the requests against max_requests; without it, those of this client."""
        self.links: list[WorkerLink] = []
        self.detail = "starting"
        self._max_requests = max_requests
        self._held = held or (lambda: self.active_requests)
        self._numbers = itertools.count(1)

    @property
    def ready(self) -> bool:
        """Whether some worker accepts requests."""
        return any(link.ready for link in self.links)

    @property
    def active_requests(self) -> int:
        """Running and waiting requests in all."""
        return sum(len(link.streams) for link in self.links)

    def submit(self, task: Task) -> OutputStream:
        """Start a request. Raises NotReadyError or QueueFullError; never waits."""
        ready = [link for link in self.links if link.ready]
        if not ready:
            raise NotReadyError(self.detail)
        if self._held() >= self._max_requests:
            raise QueueFullError(self._max_requests, retry_after=1.0)
        link = min(ready, key=lambda link: len(link.streams))
        request_id = f"r{next(self._numbers)}"

        def on_abort(request_id: str) -> None:
            if link.streams.pop(request_id, None) is not None:
                link.send(Abort(request_id))

        stream = OutputStream(request_id, on_abort, link.send)
        link.streams[request_id] = stream
        link.send(Generate(request_id, task))
        return stream

    def deliver(self, link: WorkerLink, outputs: list[RequestOutput]) -> None:
        """Hand the outputs of one step to their streams; those of aborted requests are dropped."""
        for output in outputs:
            stream = link.streams.get(output.request_id)
            if stream is None:
                continue
            if output.finish_reason is not None:
                del link.streams[output.request_id]
            stream.put(output)

    def fail(self, link: WorkerLink, error: str) -> None:
        """The worker is gone: end every request that it held."""
        link.ready = False
        for request_id, stream in link.streams.items():
            stream.put(RequestOutput(request_id, "", [], "error", error))
        link.streams.clear()

    def fail_all(self, error: str) -> None:
        """End every request: the server is about to."""
        for link in self.links:
            self.fail(link, error)
