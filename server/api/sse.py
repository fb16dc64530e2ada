"""A generation as server-sent events."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server.api.choices import GeneratedChoice
from server.api.chunks import Chunks
from server.api.errors import ApiError, ClientGoneError, internal_error, note_error
from server.api.generation import Generation
from server.api.plan import Plan
from server.api.saving import Saving
from server.registry.manager import Route

logger = logging.getLogger(__name__)

PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"
HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",  # or nginx collects the events
}

encode_json = msgspec.json.Encoder().encode


class EventStream(Response):
    """Runs a plan and sends its chunks as they come, saves the state if asked to, then [DONE].

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
        saving: Saving | None = None,
        on_end: Callable[[list[GeneratedChoice]], None] | None = None,
    ) -> None:
        super().__init__(headers=HEADERS)
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
            events = await self._next_events(generation)
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            try:
                await _send_body(send, _events(self._chunks.opening()) + events)
                while generation.running:
                    await _send_body(send, await self._next_events(generation))
                state_id = await self._save(generation, send) if self._saving else ""
                closing = self._chunks.closing(generation.tokens.usage(), state_id)
                await _send_body(send, _events(closing) + DONE, last=True)
                if self._on_end is not None:
                    self._on_end(generation.choices)
            except (ClientGoneError, OSError):
                note_error(scope, ClientGoneError().code)
                logger.info("the client left during the stream")
            except ApiError as error:
                note_error(scope, error.code)
                await _send_body(send, _event(error.body), last=True)
            except Exception:
                logger.exception("unexpected error during a stream")
                note_error(scope, internal_error().code)
                await _send_body(send, _event(internal_error().body), last=True)

    async def _next_events(self, generation: Generation) -> bytes:
        news = await generation.news(self._ping_seconds)
        if not news:
            return PING
        return b"".join(_events(self._chunks.news(each)) for each in news)

    async def _save(self, generation: Generation, send: Send) -> str:
        """The id of the saved state, after pings if it takes long."""
        assert self._saving is not None
        save = asyncio.create_task(self._saving.save(generation))
        try:
            while not (await asyncio.wait([save], timeout=self._ping_seconds))[0]:
                await _send_body(send, PING)
            return save.result()
        finally:
            save.cancel()


async def _send_body(send: Send, body: bytes, last: bool = False) -> None:
    if body or last:
        await send({"type": "http.response.body", "body": body, "more_body": not last})


def _events(chunks: list[dict[str, Any]]) -> bytes:
    return b"".join(_event(chunk) for chunk in chunks)


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + encode_json(content) + b"\n\n"
