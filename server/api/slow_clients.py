"""Ends connections whose clients do not read, or do not send what they began."""

import logging
from asyncio import BaseTransport, TimerHandle

from server.api.bounded_connection import BoundedConnection
from server.api.call import call_of
from server.api.connection_limit import RESERVE, ConnectionLimit
from server.api.errors import ApiError
from server.config_http import HttpSettings
from server.telemetry.request_metrics import RequestMetrics

log = logging.getLogger(__name__)
access_log = logging.getLogger("server.api.access")

_PROBE_SECONDS = 1.0
"""In which a connection beyond the limit must have sent the headers of its request."""


class SlowClients(BoundedConnection):
    """Uvicorn's protocol for connections that are cut when their clients are slow.

    The transport pauses writing while more waits in its buffer than it should, and says when that
    is over. Meanwhile whoever sends waits, so that a generation goes to sleep; when the connection
    is cut the generation is aborted, as after any client that leaves.

    Here only the headers of a request must come in time. Its body is the application's
    (BodyLimit in middleware.py), which can answer.

    Connections beyond the limit are for probes only: the request's state says `is_beyond_limit`.
    """

    limit = ConnectionLimit(1024)
    keep_alive_seconds = 75.0
    reader_seconds = 60.0
    sender_seconds = 60.0
    is_beyond_limit = False
    _reading: TimerHandle | None = None
    """Runs while the client does not read."""
    _sending: TimerHandle | None = None
    """Runs until the headers of a request are there; uvicorn has one between two requests."""

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self.timeout_keep_alive = self.keep_alive_seconds  # type: ignore[assignment]
        has_room = len(self.connections) <= self.limit.most or self.limit.make_room()
        if not has_room and len(self.connections) > self.limit.most + RESERVE:
            self._refuse_connection()
            return
        if len(self.connections) > self.limit.most:  # also in the place of another such one
            self.is_beyond_limit = True
            self.sender_seconds = min(_PROBE_SECONDS, self.sender_seconds)
            self.long_linger_seconds = _PROBE_SECONDS
        self.limit.set_idle(self)
        self._await_headers()

    def parse(self) -> None:
        super().parse()
        is_idle = self.cycle is None or self.cycle.response_complete
        if is_idle and self._sending is None and not self.transport.is_closing():
            self._await_headers()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self.is_beyond_limit:
            call_of(self.scope).is_beyond_limit = True

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._end_sending()
        self.limit.set_busy(self)
        if self.is_beyond_limit:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing():
            self.limit.set_idle(self)
        if self._reading is None and self._unread:
            self._await_reader()

    def set_idle(self, is_idle: bool) -> None:
        if is_idle and not self.transport.is_closing():
            self.limit.set_idle(self)
        else:
            self.limit.set_busy(self)

    def refuse(self, code: str, message: str) -> None:
        super().refuse(code, message)
        self._end_sending()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._end_reading()
        why = f"it has not been read for {self.reader_seconds:g} s"
        self._reading = self.loop.call_later(self.reader_seconds, self.cut, why)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._end_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.limit.set_busy(self)
        self._end_reading()
        self._end_sending()

    @property
    def is_sending(self) -> bool:
        """Whether a request has begun that is not there as a whole."""
        return self.cycle is not None and not self.cycle.response_complete and self.cycle.more_body

    def cut(self, why: str, level: int = logging.WARNING) -> None:
        """End the connection without a word to the client."""
        client = self.client[0] if self.client else "a client"
        log.log(level, "connection of %s cut: %s", client, why)
        self.transport.abort()

    def leave(self) -> bool:
        """Close, unless what was answered is still being sent."""
        if self._unread:
            return False
        self.connections.discard(self)
        # Strangers can bring this about at will, so it is no warning.
        self.cut("others need it, and it has no request", logging.DEBUG)
        return True

    def _refuse_connection(self) -> None:
        message = "Try again later: there are enough connections (http.max_connections)"
        self.note_refusal("too_many_connections", 503)
        self.transport.write(self.response_to(ApiError("too_many_connections", message, None, 1)))
        self.transport.close()

    @property
    def _unread(self) -> int:
        """Bytes that wait for the client to read."""
        return self.transport.get_write_buffer_size()

    def _await_reader(self) -> None:
        """The end of a response waits: no pause of writing watches over that."""
        self._reading = self.loop.call_later(self.reader_seconds, self._check_reader, self._unread)

    def _check_reader(self, unread: int) -> None:
        self._reading = None
        if self._unread >= unread:
            self.cut(f"it has not been read for {self.reader_seconds:g} s")
        elif self._unread:
            self._await_reader()

    def _await_headers(self) -> None:
        why = f"no headers of a request have come for {self.sender_seconds:g} s"
        self._sending = self.loop.call_later(self.sender_seconds, self.cut, why, logging.DEBUG)

    def _end_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _end_sending(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None


def slow_clients(
    settings: HttpSettings, metrics: RequestMetrics, max_connections: int | None = None
) -> type[SlowClients]:
    """The protocol with the limits of the settings; the metrics count what it refuses."""

    def note_refusal(code: str, status: int) -> None:
        metrics.refuse(code)
        fields = {"method": None, "path": None, "status": status, "error_code": code}
        access_log.info("- - %d %s", status, code, extra={"fields": fields})

    members = {
        "limit": ConnectionLimit(max_connections or settings.max_connections),
        "max_header_bytes": settings.max_header_bytes,
        "keep_alive_seconds": settings.keep_alive_seconds,
        "reader_seconds": settings.slow_reader_seconds,
        "sender_seconds": settings.slow_sender_seconds,
        "note_refusal": staticmethod(note_refusal),
    }
    return type("SlowClients", (SlowClients,), members)
