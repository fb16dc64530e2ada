"""A response to a message: a request of this process to itself, whose events become messages.

So a message goes the way of every other request: its key is checked, its body counted, it is
logged, measured and limited.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.datastructures import Headers
from starlette.types import Message, Scope

from server.api.call import Call, state_with
from server.api.sse import PING as SSE_PING
from server.api.websocket.frames import PING, TEXT, frame
from server.json_pieces import encode_json

_HELD_BYTES = 64 << 10
_OF_HANDSHAKE = (
    *(b"connection", b"content-type", b"content-encoding"),
    *(b"x-request-id", b"x-unused-upgrade", b"host"),
)
_ENDS = (b"response.completed", b"response.failed", b"response.incomplete", b"error")
_END = b"\n\n"

Write = Callable[[bytes], Awaitable[None]]


class Incoming:
    """A message of the client as the body of a request, while it comes."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._is_whole = self._has_been_read = self.is_unwanted = False
        self._is_gone = False
        self._changed = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()

    async def push(self, data: bytes, ends: bool) -> None:
        """More of it; waits while enough of it waits to be read."""
        await self._has_room.wait()
        if self.is_unwanted:
            return
        self._pieces.append(data)
        self._size += len(data)
        self._is_whole = ends
        if self._size > _HELD_BYTES:
            self._has_room.clear()
        self._changed.set()

    def abandon(self) -> None:
        """Nobody reads it any more: what still comes is dropped."""
        self.is_unwanted = True
        self._pieces.clear()
        self._has_room.set()

    def leave(self) -> None:
        """The client is gone."""
        self._is_gone = True
        self._changed.set()

    async def receive(self) -> Message:
        """As ASGI has it."""
        while not self._is_gone:
            if (self._pieces or self._is_whole) and not self._has_been_read:
                body = b"".join(self._pieces)
                self._pieces.clear()
                self._size = 0
                self._has_been_read = self._is_whole
                self._has_room.set()
                return {"type": "http.request", "body": body, "more_body": not self._is_whole}
            self._changed.clear()
            await self._changed.wait()
        return {"type": "http.disconnect"}


class Relay:
    """The other end of one such request."""

    def __init__(self, write: Write) -> None:
        self.is_response = False
        """Whether the message asks for a response, which takes time."""
        self.decided = asyncio.Event()
        """Set when that is known."""
        self.has_ended = False
        """Whether the client has been told the end of its response."""
        self.is_silent = False
        """Whether the client is to be told nothing more."""
        self._write = write
        self._status = 0
        self._headers = Headers()
        self._is_stream = False
        self._buffer = bytearray()
        self._searched = 0
        """Bytes of it where no event ends: one may come in very many pieces."""

    def begin(self) -> None:
        """The message asks for a response."""
        self.is_response = True
        self.decided.set()

    async def send(self, message: Message) -> None:
        """Pass on what the app says."""
        if self.is_silent:
            return
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = Headers(raw=message["headers"])
            kind = self._headers.get("content-type", "")
            self._is_stream = kind.startswith("text/event-stream")
            return
        self._buffer += message.get("body", b"")
        if self._is_stream:
            await self._pass_events()
        elif not message.get("more_body", False):
            await self._answer(bytes(self._buffer))

    async def fail(self, status: int, error: dict[str, Any]) -> None:
        """Tell of an error."""
        event: dict[str, Any] = {"type": "error", "status": status, "error": error}
        if "retry-after" in self._headers:
            event["headers"] = {"retry-after": self._headers["retry-after"]}
        await self._tell(encode_json(event), is_end=True)

    async def _pass_events(self) -> None:
        while (end := self._buffer.find(_END, self._searched)) >= 0:
            self._searched = 0
            event = bytes(self._buffer[:end])
            del self._buffer[: end + len(_END)]
            if event + _END == SSE_PING:
                await self._write(frame(PING))
                continue
            name, _, data = event.partition(b"\n")
            name, data = name.removeprefix(b"event: "), data.removeprefix(b"data: ")
            if name == b"error":
                await self._pass_failure(msgspec.json.decode(data))
            else:
                await self._tell(data, is_end=name in _ENDS)
        self._searched = max(0, len(self._buffer) - len(_END) + 1)

    async def _pass_failure(self, event: dict[str, Any]) -> None:
        """An error amid a response, in the form that errors have in messages."""
        names = ("code", "message", "param")
        error = {"type": "server_error"} | {name: event.get(name) for name in names}
        await self.fail(500, error)

    async def _answer(self, body: bytes) -> None:
        if self._status == 204 or not body:  # a message that needs no answer
            self.has_ended = True
            return
        await self.fail(self._status, msgspec.json.decode(body)["error"])

    async def _tell(self, data: bytes, is_end: bool) -> None:
        if is_end:
            self.has_ended = True
        await self._write(frame(TEXT, data))


def request_scope(handshake: Scope, call: Call) -> Scope:
    """The request that a message is, with the credentials of the handshake."""
    kept = [
        (name, value)
        for name, value in handshake["headers"]
        if name == b"host" or not (name in _OF_HANDSHAKE or name.startswith(b"sec-websocket-"))
    ]
    headers = [*kept, (b"content-type", b"application/json")]
    about = {"method": "POST", "query_string": b"", "headers": headers, "state": state_with(call)}
    names = ("type", "asgi", "http_version", "server", "client", "scheme", "root_path")
    place = {name: handshake[name] for name in (*names, "path", "raw_path")}
    return {**place, **about}
