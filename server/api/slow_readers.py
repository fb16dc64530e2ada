"""Ends connections whose clients do not read."""

import logging
from asyncio import TimerHandle

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = logging.getLogger(__name__)


def protocol_with_deadline(seconds: float) -> type[HttpToolsProtocol]:
    """Uvicorn's protocol for connections that are cut when a client does not read for so long.

    The transport pauses writing while more waits in its buffer than it should, and says when that
    is over. Meanwhile whoever sends waits, so that a generation goes to sleep; when the connection
    is cut the generation is aborted, as after any client that leaves.
    """

    class DeadlineProtocol(HttpToolsProtocol):
        _deadline: TimerHandle | None = None

        def pause_writing(self) -> None:
            super().pause_writing()
            self._deadline = self.loop.call_later(seconds, self._cut)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._cancel_deadline()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._cancel_deadline()

        def _cancel_deadline(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _cut(self) -> None:
            client = self.client[0] if self.client else "a client"
            log.warning("connection of %s cut: it has not been read for %g s", client, seconds)
            self.transport.abort()

    return DeadlineProtocol
