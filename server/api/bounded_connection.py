"""A connection whose client can make the server hold, or parse at once, only so much."""

import asyncio
import json
import logging
import re
import sys
from asyncio import Handle, TimerHandle
from time import monotonic
from uuid import uuid4

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from server.api.call import call_of
from server.api.dialects import dialect_of
from server.api.errors import ApiError
from server.api.http_1_0 import end_by_closing
from server.api.request_framing import MAX_HEADER_LINES, HeadTooLargeError, RequestFraming
from server.api.websocket.tunnel import Tunnel

log = logging.getLogger(__name__)

_ABSOLUTE_TARGET = re.compile(rb"(?i)[a-z][a-z0-9+.-]*://([^/?#]*)")

_HELD_BYTES = 64 << 10
"""Reading stops while more than this waits for an earlier request on the connection to end."""

_TURN_SECONDS = 0.001
"""After which other connections have their turn: a read can have 65,000 of the smallest chunks."""

_LINGER_SECONDS = 1.0
_LINGER_BYTES = 1 << 20
"""What a refused client still sends is read and dropped within these bounds: closing a socket with
unread data resets the connection, and the client would not see why."""

_LONG_LINGER_SECONDS = 30.0
"""The same for a body that the application did not want, of whatever size: honest clients send all
of it before they look for the answer."""


class BoundedConnection(HttpToolsProtocol):
    """Uvicorn's protocol with bounds on request heads and on requests that are sent ahead.

    The next request is parsed when the one before has been answered. Trailers are dropped: uvicorn
    would add them to the headers, which have been checked.
    """

    flow: "_Flow"
    max_header_bytes = 64 << 10
    long_linger_seconds = _LONG_LINGER_SECONDS
    _lingering: TimerHandle | None = None
    """Runs while what a client still sends is dropped: it has its last answer."""
    _bytes_to_drop = 0
    tunnel: Tunnel | None = None
    """Set when the connection has left HTTP."""
    _parsing: Handle | None = None
    """Set while the next turn of the loop is to parse on."""

    @staticmethod
    def note_refusal(code: str, status: int) -> None:
        """A client was refused before there was a request for the app."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self.framing = RequestFraming(self.max_header_bytes)
        self.flow = _Flow(self.transport)
        self.url = b""

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self.tunnel is not None:
            self.tunnel.push(data)
            return
        if self._lingering is not None:
            self._drop(len(data))
            return
        self.framing.add(data)
        if self._parsing is None:
            self.parse()
        self._hold()

    def parse(self) -> None:
        """Give the parser what has come, up to the end of a request that must be answered first."""
        stop_at = monotonic() + _TURN_SECONDS
        try:
            while not (self.transport.is_closing() or self.is_answering):
                piece = self.framing.next_piece()
                if not piece:
                    break
                self.parser.feed_data(piece)
                self.framing.check()
                if self.framing.pending and monotonic() > stop_at:
                    self._parsing = self.loop.call_soon(self._continue)
                    break
        except HeadTooLargeError:
            self.refuse(
                "headers_too_large",
                "Request line, headers, trailers and chunk framing must be at most "
                f"{self.max_header_bytes} bytes (http.max_header_bytes) in {MAX_HEADER_LINES} "
                "lines; send fewer headers",
            )
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.refuse("invalid_http", "The request is not valid HTTP/1.1")

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.framing.clear()
        if self.tunnel is not None:
            self.tunnel.end()
        if self._lingering is not None:
            self._lingering.cancel()

    def shutdown(self) -> None:
        super().shutdown()
        if self.tunnel is not None:
            self.tunnel.stop()

    def switch(self) -> Tunnel:
        """Leave HTTP: what comes is for the tunnel, and the response's body goes out as it is."""
        cycle = self.cycle
        cycle.chunked_encoding, cycle.expected_content_length = False, sys.maxsize

        def close() -> None:
            cycle.keep_alive, cycle.expected_content_length = False, 0

        self.tunnel = Tunnel(self.flow.hold, self.set_idle, close)
        self.tunnel.push(self.framing.take_all())
        return self.tunnel

    def set_idle(self, is_idle: bool) -> None:
        """Whether nobody waits for anything on a connection that has left HTTP."""

    @property
    def is_answering(self) -> bool:
        """Whether a request is there as a whole and its response is not."""
        return (
            self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body
        )

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.framing.in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        headers = dict(self.headers)
        coding = headers.get(b"transfer-encoding")
        if coding is not None and coding.strip().lower() != b"chunked":
            raise httptools.HttpParserError  # before the app has it: the body would have no end
        self.framing.head_complete(
            None if coding is not None else int(headers.get(b"content-length", 0))
        )
        if (found := _ABSOLUTE_TARGET.match(self.url)) is not None:
            # The host of the target overrules the header (RFC 9112, 3.2.2).
            self.headers[:] = [each for each in self.headers if each[0] != b"host"]
            self.headers.append((b"host", found[1]))
        call_of(self.scope).switch = self.switch
        super().on_headers_complete()
        self.cycle.transport = _Output(self)  # type: ignore[assignment]
        if self.scope["http_version"] < "1.1":
            end_by_closing(self.cycle)

    def on_body(self, body: bytes) -> None:
        self.framing.body(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        self.framing.message_complete()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.framing.pending and not self.transport.is_closing():
            self._unset_keepalive_if_required()
            self._parsing = self._parsing or self.loop.call_soon(self._continue)

    def refuse(self, code: str, message: str) -> None:
        """Answer with an error before there is a request for the app, and close."""
        if self.cycle is not None and not self.cycle.response_complete:
            has_begun = self.cycle.response_started
            self.cycle.disconnected = True  # the app logs it, as a client that left
            self.cycle.message_event.set()
            if has_begun:
                self.transport.abort()
                return
        else:
            self.note_refusal(code, ApiError(code, message).status_code)
        self.transport.write(self.response_to(ApiError(code, message)))
        self._linger(_LINGER_SECONDS, _LINGER_BYTES)

    def end(self) -> None:
        """Close after a response, so that the client sees it also while it still sends a body."""
        if self.cycle.more_body and self._lingering is None and not self.transport.is_closing():
            self._linger(self.long_linger_seconds, sys.maxsize)
        else:
            self.transport.close()

    def response_to(self, error: ApiError) -> bytes:
        """An HTTP response that closes the connection."""
        ident = f"req_{uuid4().hex}"
        dialect = dialect_of(self.url.decode("latin-1"))
        content = dialect.error(error.body["error"], error.status_code, ident)
        body = json.dumps(content, separators=(",", ":")).encode()
        headers = [
            *self.server_state.default_headers,
            *((name.encode(), text.encode()) for name, text in (error.headers or {}).items()),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            *((name, ident.encode()) for name in sorted({b"x-request-id", dialect.id_header})),
        ]
        lines = (b"%b: %b\r\n" % header for header in headers)
        return b"".join([STATUS_LINE[error.status_code], *lines, b"\r\n", body])

    def _continue(self) -> None:
        self._parsing = None
        if not self.transport.is_closing():
            self.parse()
            self._hold()

    def _hold(self) -> None:
        enough = max(_HELD_BYTES, self.max_header_bytes)  # a head must fit, to be seen as a whole
        self.flow.hold(self._parsing is not None or self.framing.pending > enough)

    def _linger(self, seconds: float, most_bytes: int) -> None:
        """Close when the client does, or after so long, or so much of what it still sends."""
        self.framing.clear()
        self.transport.write_eof()
        self.flow.resume_reading()
        self.flow.hold(False)
        self._bytes_to_drop = most_bytes
        self._lingering = self.loop.call_later(seconds, self.transport.abort)

    def _drop(self, size: int) -> None:
        self._bytes_to_drop -= size
        if self._bytes_to_drop < 0:
            self.transport.abort()


class _Output:
    """The transport as a request's response sees it: uvicorn would close it with unread data."""

    def __init__(self, connection: BoundedConnection) -> None:
        self._transport = connection.transport
        self.write = self._transport.write
        self.is_closing = self._transport.is_closing
        self.close = connection.end


class _Flow(FlowControl):
    """Reads while neither uvicorn has paused that, nor the connection holds enough."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._holds_enough = self._is_paused = False

    def pause_reading(self) -> None:
        self.read_paused = True
        self._apply()

    def resume_reading(self) -> None:
        self.read_paused = False
        self._apply()

    def hold(self, holds_enough: bool) -> None:
        """Whether the connection holds enough of what was sent."""
        self._holds_enough = holds_enough
        self._apply()

    def _apply(self) -> None:
        is_paused = self.read_paused or self._holds_enough
        if is_paused == self._is_paused or self._transport.is_closing():
            return
        self._is_paused = is_paused
        if is_paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
