"""The bytes of a connection that has left HTTP: what came, and where it stands."""

import asyncio
from collections.abc import Callable

_HELD_BYTES = 64 << 10


class Tunnel:
    """What a client sends after its connection has been switched to another protocol.

    What the server sends goes the way of a response's body: with the same bounds, and the same end
    for clients that do not read.
    """

    def __init__(
        self,
        hold: Callable[[bool], None],
        set_idle: Callable[[bool], None],
        close: Callable[[], None],
    ) -> None:
        """`hold` stops reading from the client, `set_idle` lets the connection be closed for
        others that need its place, and after `close` the end of the response is its end.
        """
        self._hold = hold
        self.set_idle = set_idle
        self.close = close
        self._data = bytearray()
        self.has_ended = False
        """Whether the client is gone."""
        self.is_stopping = False
        """Whether the server is about to stop."""
        self.changed = asyncio.Event()

    @property
    def pending(self) -> int:
        """Bytes that nobody has taken."""
        return len(self._data)

    def push(self, data: bytes) -> None:
        """Bytes came."""
        self._data += data
        if len(self._data) > _HELD_BYTES:
            self._hold(True)
        self.changed.set()

    def take(self) -> bytes:
        """All that has come."""
        data = bytes(self._data)
        self._data.clear()
        self._hold(False)
        return data

    def end(self) -> None:
        """The client is gone."""
        self.has_ended = True
        self.changed.set()

    def stop(self) -> None:
        """The server is about to stop."""
        self.is_stopping = True
        self.changed.set()
