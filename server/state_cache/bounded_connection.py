"""Connections to Redis on which no reply is larger or slower than the operation may have it.

The client's own timeouts are for each read: a server that sends a byte a second, or gigabytes,
would be listened to for ever.
"""

import threading
import time
from typing import Any

import redis


class Allowance(threading.local):
    """What the operation of this thread may still receive."""

    def __init__(self) -> None:
        self._left = 0
        self._until = 0.0

    def grant(self, nbytes: int, seconds: float) -> None:
        """An operation begins."""
        self._left = nbytes
        self._until = time.monotonic() + seconds

    def take(self, nbytes: int) -> None:
        """So many bytes have come. Raises redis.ConnectionError when there were too many."""
        self._left -= nbytes
        if self._left < 0:
            raise redis.ConnectionError("the reply is larger than it can be")
        if time.monotonic() > self._until:
            raise redis.TimeoutError("the reply takes too long")


class _BoundedSocket:
    """A socket that counts what it receives."""

    def __init__(self, sock: Any, allowance: Allowance) -> None:
        self._socket = sock
        self._allowance = allowance

    def recv(self, size: int) -> bytes:
        data: bytes = self._socket.recv(size)
        self._allowance.take(len(data))
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


def bounded(kind: type[Any], allowance: Allowance) -> type[Any]:
    """A class of redis.Connection whose sockets take what they receive from the allowance."""

    class Bounded(kind):  # type: ignore[misc]
        def _connect(self) -> Any:
            return _BoundedSocket(super()._connect(), allowance)

    return Bounded
