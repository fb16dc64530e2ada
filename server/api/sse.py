"""A generation as server-sent events."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server.api.choices import GeneratedChoice, News
from server.api.chunks import Chunk, Chunks
from server.api.errors import ApiError, ClientGoneError, internal_error, note_error
from server.api.generation import Generation
from server.api.plan import Plan
from server.api.sending import send_body, send_pieces
from server.json_pieces import PIECE_BYTES, encode_pieces
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


class Keeper(Protocol):
    """What keeps something of a generation, before its stream says that all is done."""

    async def save(self, generation: Generation) -> str:
        """The id of the state that was saved, or ""."""


def data_event(chunk: Chunk) -> list[bytes]:
    """An event without a name."""
    return [b"data: ", *encode_pieces(chunk), b"\n\n"]


def typed_event(chunk: Chunk) -> list[bytes]:
    """An event that is named by its type."""
    return [f"event: {chunk['type']}\n".encode(), *data_event(chunk)]


@dataclass(frozen=True)
class Framing:
    """How an endpoint's chunks, its failures and its end look in a stream."""

    event: Callable[[Chunk], list[bytes]] = data_event
    """In pieces."""
    failure: Callable[[ApiError], list[Chunk]] = lambda error: [error.body]
    end: bytes = DONE
    ping: bytes = PING
    media_type: str = EVENT_STREAM


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
                await self._send_chunks(send, self._chunks.opening())
                await self._send_news(send, news)
                while generation.running:
                    await self._send_news(send, await generation.news(self._ping_seconds))
                state_id = await self._save(generation, send) if self._saving else ""
                closing = self._chunks.closing(generation.tokens.usage(), state_id)
                await self._send_chunks(send, closing, self._framing.end)
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
        if news:
            await self._send_chunks(send, (c for each in news for c in self._chunks.news(each)))
        else:
            await send_body(send, self._framing.ping)

    async def _send_failure(self, scope: Scope, send: Send, error: ApiError) -> None:
        note_error(scope, error.code)
        await self._send_chunks(send, self._framing.failure(error), b"")

    async def _send_chunks(
        self, send: Send, chunks: Iterable[Chunk], end: bytes | None = None
    ) -> None:
        """Together, if they are small; after them the end, if it is given."""
        pieces: list[bytes] = []
        size = 0
        for chunk in chunks:
            event = self._framing.event(chunk)
            pieces += event
            size += sum(map(len, event))
            if size > PIECE_BYTES:
                await send_pieces(send, pieces)
                pieces, size = [], 0
        await send_body(send, b"".join(pieces) + (end or b""), is_last=end is not None)

    async def _save(self, generation: Generation, send: Send) -> str:
        """The id of the saved state, after pings if it takes long."""
        assert self._saving is not None
        save = asyncio.create_task(self._saving.save(generation))
        try:
            while not (await asyncio.wait([save], timeout=self._ping_seconds))[0]:
                await send_body(send, self._framing.ping)
            return save.result()
        finally:
            save.cancel()
