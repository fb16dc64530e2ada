"""Responses that are not stored, for as long as the WebSocket lives that they were made on."""

from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from server.json_pieces import encode_json
from server.stores.responses.records import Item

MOST_BYTES = 64 << 20
"""Of all connections; beyond it the response goes that was made before all others."""


class LocalResponses:
    """The last response of each connection, with all that it was made from, as JSON."""

    def __init__(self, longest: int, most_bytes: int = MOST_BYTES) -> None:
        """`longest` is that of one of them, in bytes."""
        self._longest = longest
        self._most_bytes = most_bytes
        self._kept: OrderedDict[ConnectionMemory, bytes] = OrderedDict()
        self._bytes = 0

    @property
    def size(self) -> int:
        """How many bytes are kept."""
        return self._bytes

    def put(self, connection: "ConnectionMemory", data: bytes) -> None:
        """In the place of what it had before."""
        self.take(connection)
        if len(data) <= self._longest:
            self._kept[connection] = data
            self._bytes += len(data)
        while self._bytes > self._most_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest)

    def take(self, connection: "ConnectionMemory") -> bytes:
        """What it has, and no more then."""
        data = self._kept.pop(connection, b"")
        self._bytes -= len(data)
        return data


class ConnectionMemory:
    """What one connection remembers: its last response that was not stored."""

    def __init__(self, kept: LocalResponses) -> None:
        self._kept = kept
        self._owner = ("", "")

    def keep(self, tenant: str, ident: str, data: bytes) -> None:
        """Remember a response, and nothing of the one before."""
        self._owner = (tenant, ident)
        self._kept.put(self, data)

    def take(self, tenant: str, ident: str | None) -> bytes:
        """The items of a response, or nothing; who goes on from it and fails begins anew."""
        return self._kept.take(self) if (tenant, ident) == self._owner else b""

    def forget(self) -> None:
        """The connection has ended."""
        self._kept.take(self)


def encoded(items: Sequence[Item]) -> bytes:
    """Items as they are kept."""
    return encode_json(items)


def items_of(data: bytes) -> list[Item]:
    """And back."""
    items: list[Item] = msgspec.json.decode(data)
    return items
