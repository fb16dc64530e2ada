"""What every request passes through, as plain ASGI: its id, its log line, its size limit."""

import asyncio
import logging
import re
from collections.abc import Callable
from time import perf_counter
from typing import Any
from uuid import uuid4

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api.access import OPEN_PATHS
from server.api.call import call_of
from server.api.dialects import dialect_for
from server.api.errors import ApiError, ClientGoneError, error_response, internal_error
from server.api.sending import send_in_pieces
from server.api.trained_length import length_header
from server.logs import request_id
from server.telemetry.request_metrics import RequestMetrics
from server.telemetry.tracing import Tracer

logger = logging.getLogger(__name__)
access_log = logging.getLogger("server.api.access")

PROBES = ("/health", "/live", "/ready", "/metrics")
_LOGGED_CHARACTERS = 1000
"""Of a path: anybody can send long ones."""

SANE_ID = re.compile(r"[\x21-\x7e]{1,128}")


class RequestContext:
    """Gives a request its id, answers for unexpected exceptions, and writes the access log.

    It begins the Call and ends what that holds; `error_code` is put there by whatever answers with
    an error.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: RequestMetrics,
        logs_prompts: bool = False,
        tracer: Tracer | None = None,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._logs_prompts = logs_prompts
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        ident = _request_id(scope)
        call = call_of(scope)
        call.started = perf_counter()
        call.metrics, call.logs_prompts = self._metrics, self._logs_prompts
        token = request_id.set(ident)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                names = {b"x-request-id", dialect_for(scope).id_header}
                added = [(name, ident.encode()) for name in sorted(names)]
                added += length_header(call)
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send_in_pieces(send, message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            logger.exception("unexpected error in %s %s", scope["method"], scope["path"])
            if not status:
                await error_response(internal_error())(scope, receive, send_with_id)
        finally:
            call.exits.close()
            if call.error_code and scope["path"] not in PROBES:
                self._metrics.refuse(call.error_code)
            if self._tracer is not None and scope["path"] not in PROBES:
                self._tracer.trace(scope, ident, status, call.started)
            _log_access(scope, status, perf_counter() - call.started)
            request_id.reset(token)


class ProbesOnly:
    """Refuses what comes over connections beyond http.max_connections, except probes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if call_of(scope).is_beyond_limit and scope["path"] not in OPEN_PATHS:
            message = "Try again later: there are enough connections (http.max_connections)"
            error = ApiError("too_many_connections", message, retry_after=1)
            await error_response(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)


class Expectations:
    """Ends the connection of a client that waits to be asked for its body, and is refused before.

    It may send the body nevertheless or never: what comes next on the connection could be either.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or "expect" not in Headers(scope=scope):
            await self._app(scope, receive, send)
            return
        is_asked = False

        async def receive_asked() -> Message:
            nonlocal is_asked
            is_asked = True
            return await receive()

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start" and not is_asked:
                headers = [*message.get("headers", ()), (b"connection", b"close")]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive_asked, send_and_close)


class BodyLimit:
    """Refuses bodies over a path's number of bytes, whether their length is declared or not.

    And those of which nothing more comes for `silence` seconds, or which keep the server waiting
    for longer than that and what they have at `bytes_per_second`. 0: no matter how slow they are.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: Callable[[str], int],
        silence: float,
        bytes_per_second: int = 0,
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._silence = silence
        self._bytes_per_second = bytes_per_second

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._max_bytes(scope["path"])
        declared = Headers(scope=scope).get("content-length", "")
        # More digits than any limit are too many without asking int(), which has its own limit.
        if declared.isdecimal() and (len(declared) > 18 or int(declared) > limit):
            await error_response(_too_large(limit))(scope, receive, send)
            return
        received = 0
        waited = 0.0
        is_whole = False

        async def receive_counted() -> Message:
            nonlocal received, waited, is_whole
            if is_whole:  # only the end of the connection is still to come
                return await receive()
            began = perf_counter()
            message = await self._receive_in_time(receive, self._allowed(received, waited))
            waited += perf_counter() - began
            if message["type"] == "http.disconnect":
                raise ClientGoneError  # what has come of the body is not what it meant to say
            is_whole = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > limit:
                raise _too_large(limit)
            return message

        await self._app(scope, receive_counted, send)

    def _allowed(self, received: int, waited: float) -> float:
        """Seconds until more of the body must be there."""
        if not self._bytes_per_second:
            return self._silence
        left = self._silence + received / self._bytes_per_second - waited
        return max(0.0, min(self._silence, left))

    async def _receive_in_time(self, receive: Receive, seconds: float) -> Message:
        try:
            async with asyncio.timeout(seconds):
                return await receive()
        except TimeoutError:
            why = f"Nothing more of the request body has come for {self._silence:g} s"
            if seconds < self._silence:
                why = f"The request body comes at less than {self._bytes_per_second} bytes/s"
            raise ApiError("request_timeout", why) from None


def _too_large(limit: int) -> ApiError:
    return ApiError("request_too_large", f"The request body is larger than {limit} bytes")


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if SANE_ID.fullmatch(given) else f"req_{uuid4().hex}"


def _log_access(scope: Scope, status: int, seconds: float) -> None:
    # The path is quoted like a Python string: it may hold decoded line breaks.
    path = scope["path"][:_LOGGED_CHARACTERS]
    path = path if path.isprintable() else ascii(path)
    line = f"{scope['method']} {path} {status or '-'} {seconds * 1000:.0f} ms"
    call = call_of(scope)
    if call.tokens:
        line += f" {call.tokens.prompt}+{call.tokens.completion} tokens"
    if call.caller and call.caller.name:
        line += f" by {call.caller.name}"
    # Probes come every few seconds for ever.
    level = logging.DEBUG if scope["path"] in PROBES else logging.INFO
    access_log.log(level, "%s", line, extra={"fields": _access_fields(scope, status, seconds)})


def _access_fields(scope: Scope, status: int, seconds: float) -> dict[str, Any]:
    """The same for programs, and more of it; nothing of what was asked or answered."""
    call = call_of(scope)
    path = scope["path"][:_LOGGED_CHARACTERS]
    fields: dict[str, Any] = {"method": scope["method"], "path": path, "status": status}
    fields["ms"] = round(seconds * 1000, 1)
    if tokens := call.tokens:
        fields["prompt_tokens"] = tokens.prompt
        fields["completion_tokens"] = tokens.completion
        fields["cached_tokens"] = tokens.cached
        fields["finish_reasons"] = tokens.finish_reasons
    if call.caller and call.caller.name:
        fields["key"] = call.caller.name
    if call.error_code:
        fields["error_code"] = call.error_code
    return fields
