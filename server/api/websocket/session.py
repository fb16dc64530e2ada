"""A WebSocket from its handshake to its end: messages come in, the events of responses go out."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.call import Call, call_of
from server.api.errors import ApiError
from server.api.responses.connection_memory import ConnectionMemory
from server.api.websocket.frames import (
    CLOSE,
    GOING_AWAY,
    NORMAL,
    PING,
    PONG,
    TEXT,
    TOO_LARGE,
    FrameError,
    FrameReader,
    Part,
    close_frame,
    frame,
)
from server.api.websocket.relay import Incoming, Relay, request_scope
from server.api.websocket.tunnel import Tunnel

log = logging.getLogger(__name__)

IDLE_SECONDS = 900.0
"""Without a message or a response, the connection is closed."""
_LINGER_SECONDS = 1.0
"""For the client to take in why."""
_PARTS_AT_ONCE = 64


class _LeftError(Exception):
    """The client is gone, or has said that it goes."""


class WebSocketResponse(Response):
    """Answers a handshake, and then messages, one at a time, until either side closes."""

    def __init__(
        self,
        app: ASGIApp,
        headers: list[tuple[bytes, bytes]],
        max_message_bytes: int,
        ping_seconds: float,
        connection: ConnectionMemory,
        on_end: Callable[[], None],
    ) -> None:
        """`connection` is that of the requests that the messages become."""
        super().__init__()
        self._app = app
        self._agreed = headers
        self._connection = connection
        self._on_end = on_end
        self.max_message_bytes = max_message_bytes
        self.ping_seconds = ping_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Until the connection ends."""
        del receive  # what the client sends comes through the tunnel
        switch = call_of(scope).switch
        assert switch is not None
        tunnel = switch()
        try:
            await send({"type": "http.response.start", "status": 101, "headers": self._agreed})
            await _Session(self, tunnel, scope, send).run()
        finally:
            tunnel.close()
            self._on_end()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def answer(self, scope: Scope, incoming: Incoming, relay: Relay) -> None:
        """Have a message answered. Never fails."""
        try:
            call = Call(connection=self._connection, begin_response=relay.begin)
            request = request_scope(scope, call)
            await self._app(request, incoming.receive, relay.send)
        except Exception:
            log.exception("unexpected error about a message")
        finally:
            incoming.abandon()
            relay.decided.set()


class _Session:
    """One such connection."""

    def __init__(
        self,
        response: WebSocketResponse,
        tunnel: Tunnel,
        scope: Scope,
        send: Send,
    ) -> None:
        self._response = response
        self._tunnel = tunnel
        self._reader = FrameReader(response.max_message_bytes)
        self._scope = scope
        self._send = send
        self._writing = asyncio.Lock()
        self._incoming: Incoming | None = None
        """The message that comes, or is answered."""
        self._relay: Relay | None = None
        self._answering: asyncio.Task[None] | None = None
        self._is_skipping = False
        """Whether what comes is part of a message that was refused."""

    async def run(self) -> None:
        code, reason, awaits_client = NORMAL, "", True
        try:
            async for part in self._parts():
                await self._take(part)
            code, reason = GOING_AWAY, "the connection was idle, or the server stops"
        except _LeftError:
            awaits_client = False
        except FrameError as error:
            code, reason = error.code, str(error)
            if code == TOO_LARGE:
                await self._refuse("request_too_large", f"{reason} (http.max_body_bytes)")
        finally:
            await self._end()
        await self._write(close_frame(code, reason))
        if awaits_client:
            await self._linger()

    async def _parts(self) -> AsyncIterator[Part]:
        """Of frames as they come, until it is time to close."""
        count = 0
        while await self._has_more():
            self._reader.add(self._tunnel.take())
            for part in self._reader.parts():
                yield part
                count += 1
                if count % _PARTS_AT_ONCE == 0:
                    await asyncio.sleep(0)

    async def _has_more(self) -> bool:
        """Wait for bytes; False when the connection is to be closed. Raises _LeftError."""
        loop, tunnel = asyncio.get_running_loop(), self._tunnel
        until = loop.time() + IDLE_SECONDS
        while not tunnel.pending:
            if tunnel.has_ended:
                raise _LeftError
            is_idle = self._answering is None or self._answering.done()
            if is_idle and (tunnel.is_stopping or loop.time() >= until):
                return False
            tunnel.set_idle(is_idle)
            tunnel.changed.clear()
            try:
                async with asyncio.timeout(self._response.ping_seconds):
                    await tunnel.changed.wait()
            except TimeoutError:
                if is_idle:
                    await self._write(frame(PING))
            if not is_idle:
                until = loop.time() + IDLE_SECONDS
        tunnel.set_idle(False)
        return True

    async def _take(self, part: Part) -> None:
        if part.opcode == PING:
            await self._write(frame(PONG, part.data))
        elif part.opcode == CLOSE:
            raise _LeftError
        elif part.opcode == TEXT:
            if part.begins:
                await self._begin()
            if not self._is_skipping and self._incoming is not None:
                await self._incoming.push(part.data, part.ends)

    async def _begin(self) -> None:
        """A message begins: it is answered, or refused while another one is."""
        self._is_skipping = False
        if self._answering is not None:
            assert self._relay is not None
            await self._relay.decided.wait()  # its body has come: that takes moments
            if self._relay.is_response and not self._relay.has_ended:
                self._is_skipping = True
                message = "One response at a time: wait for the end of the one before"
                await self._refuse("invalid_value", message)
                return
            await self._answering
        self._incoming, self._relay = Incoming(), Relay(self._write)
        work = self._response.answer(self._scope, self._incoming, self._relay)
        self._answering = asyncio.create_task(work)
        self._answering.add_done_callback(lambda _: self._tunnel.changed.set())

    async def _refuse(self, code: str, message: str) -> None:
        error = ApiError(code, message)
        await Relay(self._write).fail(error.status_code, error.body["error"])

    async def _write(self, data: bytes) -> None:
        async with self._writing:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def _end(self) -> None:
        """Abort the response that is being made, as when any client leaves."""
        if self._answering is not None and self._incoming is not None:
            assert self._relay is not None
            self._relay.is_silent = True
            self._incoming.leave()
            await asyncio.wait([self._answering])

    async def _linger(self) -> None:
        """Until the client says goodbye, too: closing a socket with unread data would lose ours."""
        tunnel = self._tunnel
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while not (tunnel.has_ended or self._says_goodbye(tunnel.take())):
                    tunnel.changed.clear()
                    await tunnel.changed.wait()

    def _says_goodbye(self, data: bytes) -> bool:
        self._reader.add(data)
        try:
            return any(part.opcode == CLOSE for part in self._reader.parts())
        except FrameError:
            self._reader = FrameReader(0)
            return False
