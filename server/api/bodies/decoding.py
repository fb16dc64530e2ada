"""Request bodies that come compressed: the app gets them as if they had not been."""

import asyncio
from collections.abc import Callable, Iterator
from time import monotonic

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api.bodies.codings import KNOWN, CorruptError, Decoder, coding_named
from server.api.errors import ApiError, error_response

_TURN_SECONDS = 0.001
"""After which other requests have their turn."""
_OF_CODED = (b"content-encoding", b"content-length")


class BodyDecoding:
    """Undoes Content-Encoding within a path's number of bytes, counted as they are unpacked.

    Next to nothing is unpacked before it is asked for, so that whoever bounds the memory of bodies
    bounds it of these.
    """

    def __init__(self, app: ASGIApp, max_bytes: Callable[[str], int]) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if "content-encoding" not in headers or not _has_body(headers):
            await self._app(scope, receive, send)
            return
        try:
            coding = _coding(headers)
        except ApiError as error:
            await error_response(error)(scope, receive, send)
            return
        if coding is not None:
            receive = _Body(receive, coding, self._max_bytes(scope["path"])).receive
            kept = [each for each in scope["headers"] if each[0] not in _OF_CODED]
            scope = {**scope, "headers": kept}
        await self._app(scope, receive, send)


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0").strip("0") != ""


def _coding(headers: Headers) -> str | None:
    """The only one that changes the body, if any. Raises ApiError."""
    lines = ",".join(headers.getlist("content-encoding"))
    names = [name for each in lines.split(",") if (name := each.strip())]
    names = [name for name in names if name.lower() != "identity"]
    if not names:
        return None
    known = ", ".join(KNOWN)
    if len(names) > 1:
        raise _unsupported(f"Content-Encoding: send at most one of {known}, not several in a row")
    coding = coding_named(names[0])
    if coding is None:
        message = f"Content-Encoding: {names[0][:40]!a} is not known; send one of {known}, or none"
        raise _unsupported(message)
    return coding


def _unsupported(message: str) -> ApiError:
    error = ApiError("unsupported_encoding", message)
    error.headers = {**(error.headers or {}), "accept-encoding": ", ".join(KNOWN)}
    return error


class _Body:
    """A body on its way to the app."""

    def __init__(self, receive: Receive, coding: str, limit: int) -> None:
        self._receive = receive
        self._coding = coding
        self._decoder = Decoder(coding)
        self._limit = limit
        self._size = 0
        self._pieces: Iterator[bytes] = iter(())
        self._has_come = self._is_whole = False

    async def receive(self) -> Message:
        """As ASGI has it. Raises ApiError."""
        if self._is_whole:  # only the end of the connection is still to come
            return await self._receive()
        try:
            while not (piece := await self._next_piece()):
                if self._has_come:
                    return self._end()
                message = await self._receive()
                if message["type"] != "http.request":
                    return message
                self._has_come = not message.get("more_body", False)
                self._pieces = self._decoder.pieces(message.get("body", b""))
        except CorruptError as error:
            raise self._corrupt(str(error)) from None
        self._size += len(piece)
        if self._size > self._limit:
            why = f"The request body is larger than {self._limit} bytes when it is unpacked"
            raise ApiError("request_too_large", why)
        return {"type": "http.request", "body": piece, "more_body": True}

    async def _next_piece(self) -> bytes:
        """Empty when there is none in what has come. Raises CorruptError."""
        stop_at = monotonic() + _TURN_SECONDS
        for piece in self._pieces:
            if piece:
                await asyncio.sleep(0)  # the app may be done with it in no time
                return piece
            if monotonic() > stop_at:
                await asyncio.sleep(0)
                stop_at = monotonic() + _TURN_SECONDS
        return b""

    def _end(self) -> Message:
        self._is_whole = True
        if not self._decoder.is_at_end:
            raise self._corrupt("it ends too early")
        return {"type": "http.request", "body": b"", "more_body": False}

    def _corrupt(self, why: str) -> ApiError:
        message = f"The body is not valid {self._coding}, as Content-Encoding says: {why}"
        return ApiError("invalid_encoding", message)
