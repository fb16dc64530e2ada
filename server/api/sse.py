"""A generation as server-sent events."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server.api.choices import GeneratedChoice, News
from server.api.chunks import Chunk, Chunks
from server.api.errors import ApiError, ClientGoneError, internal_error, note_error
from server.api.generation import Generation
from server.api.plan import Plan
from server.registry.manager import Route

logger = logging.getLogger(__name__)

PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"
EVENT_STREAM = "text/event-stream; charset=utf-8"
HEADERS = {
    "content-type": EVENT_STREAM,
    "cache-control": "no-cache",
    "x-accel-buffering": "no",  # or nginx collects the events
}

encode_json = msgspec.json.Encoder().encode


class Keeper(Protocol):
    """What keeps something of a generation, before its stream says that all is done."""

    async def save(self, generation: Generation) -> str:
        """The id of the state that was saved, or ""."""


def data_event(chunk: Chunk) -> bytes:
    """An event without a name."""
    return b"data: " + encode_json(chunk) + b"\n\n"


def typed_event(chunk: Chunk) -> bytes:
    """An event that is named by its type."""
    return f"event: {chunk['type']}\n".encode() + data_event(chunk)


@dataclass(frozen=True)
class Framing:
    """How an endpoint's chunks, its failures and its end look in a stream."""

    event: Callable[[Chunk], bytes] = data_event
    failure: Callable[[ApiError], list[Chunk]] = lambda error: [error.body]
    end: bytes = DONE
    ping: bytes = PING
    media_type: str = EVENT_STREAM

    def events(self, chunks: list[Chunk]) -> bytes:
        """Several, one after another."""
        return b"".join(map(self.event, chunks))


class EventStream(Response):
    """Runs a plan and sends its chunks as they come, saves what is to be saved, then the end.

    The response starts with the first news or the first ping, so that what fails before then is
    an ordinary HTTP error. A later failure is an event with `error`, and the end. After all of it
    was sent, `on_end` gets the choices.
    """

    def __init__(
        self,
        route: Route,
        plan: Plan,
        chunks: Chunks,
        ping_seconds: float,
        saving: Keeper | None = None,
        on_end: Callable[[list[GeneratedChoice]], None] | None = None,
        framing: Framing | None = None,
    ) -> None:
        self._framing = framing or Framing()
        super().__init__(headers=HEADERS | {"content-type": self._framing.media_type})
        del self.headers["content-length"]
        self._route = route
        self._plan = plan
        self._chunks = chunks
        self._ping_seconds = ping_seconds
        self._saving = saving
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Abort the generation on any way out."""
        with Generation(self._route, self._plan, scope, receive) as generation:
            news = await generation.news(self._ping_seconds)
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            try:
                await _send_body(send, self._framing.events(self._chunks.opening()))
                await self._send_news(send, news)
                while generation.running:
                    await self._send_news(send, await generation.news(self._ping_seconds))
                state_id = await self._save(generation, send) if self._saving else ""
                closing = self._chunks.closing(generation.tokens.usage(), state_id)
                end = self._framing.events(closing) + self._framing.end
                await _send_body(send, end, last=True)
                if self._on_end is not None:
                    self._on_end(generation.choices)
            except (ClientGoneError, OSError):
                note_error(scope, ClientGoneError().code)
                logger.info("the client left during the stream")
            except ApiError as error:
                await self._send_failure(scope, send, error)
            except Exception:
                logger.exception("unexpected error during a stream")
                await self._send_failure(scope, send, internal_error())

    async def _send_news(self, send: Send, news: list[News]) -> None:
        events = (self._framing.events(self._chunks.news(each)) for each in news)
        await _send_body(send, b"".join(events) if news else self._framing.ping)

    async def _send_failure(self, scope: Scope, send: Send, error: ApiError) -> None:
        note_error(scope, error.code)
        await _send_body(send, self._framing.events(self._framing.failure(error)), last=True)

    async def _save(self, generation: Generation, send: Send) -> str:
        """The id of the saved state, after pings if it takes long."""
        assert self._saving is not None
        save = asyncio.create_task(self._saving.save(generation))
        try:
            while not (await asyncio.wait([save], timeout=self._ping_seconds))[0]:
                await _send_body(send, self._framing.ping)
            return save.result()
        finally:
            save.cancel()


async def _send_body(send: Send, body: bytes, last: bool = False) -> None:
    if body or last:
        await send({"type": "http.response.body", "body": body, "more_body": not last})
