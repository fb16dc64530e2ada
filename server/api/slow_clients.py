"""Ends connections whose clients do not read, or do not send what they began."""

import logging
from asyncio import BaseTransport, TimerHandle

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = logging.getLogger(__name__)


class SlowClients(HttpToolsProtocol):
    """Uvicorn's protocol for connections that are cut when their clients are slow.

    The transport pauses writing while more waits in its buffer than it should, and says when that
    is over. Meanwhile whoever sends waits, so that a generation goes to sleep; when the connection
    is cut the generation is aborted, as after any client that leaves.

    Here only the headers of a request must come in time. Its body is the application's
    (BodyLimit in middleware.py), which can answer.
    """

    reader_seconds = 60.0
    sender_seconds = 60.0
    _reading: TimerHandle | None = None
    """Runs while the client does not read."""
    _sending: TimerHandle | None = None
    """Runs until the headers of a request are there; uvicorn has one between two requests."""

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        is_idle = self.cycle is None or self.cycle.response_complete
        if is_idle and self._sending is None and not self.transport.is_closing():
            self._await_headers()

    def on_headers_complete(self) -> None:
        self._end_sending()
        super().on_headers_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        why = f"it has not been read for {self.reader_seconds:g} s"
        self._reading = self.loop.call_later(self.reader_seconds, self.cut, why)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._end_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._end_reading()
        self._end_sending()

    @property
    def is_sending(self) -> bool:
        """Whether a request has begun that is not there as a whole."""
        return self.cycle is not None and not self.cycle.response_complete and self.cycle.more_body

    def cut(self, why: str) -> None:
        """End the connection without a word to the client."""
        client = self.client[0] if self.client else "a client"
        log.warning("connection of %s cut: %s", client, why)
        self.transport.abort()

    def _await_headers(self) -> None:
        why = f"no headers of a request have come for {self.sender_seconds:g} s"
        self._sending = self.loop.call_later(self.sender_seconds, self.cut, why)

    def _end_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _end_sending(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None


def slow_clients(reader_seconds: float, sender_seconds: float) -> type[SlowClients]:
    """The protocol with these limits."""
    limits = {"reader_seconds": reader_seconds, "sender_seconds": sender_seconds}
    return type("SlowClients", (SlowClients,), limits)
