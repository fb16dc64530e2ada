"""JSON in pieces: what grows with an answer is encoded as it comes, and only passed on later.

To encode, join or copy a hundred megabytes takes a tenth of a second, in which nothing else goes
on, in whichever thread. So what is long is not one string of bytes where others wait.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

PIECE_BYTES = 64 << 10
"""About the size of a piece; as much as a transport's buffer takes before senders have to wait."""

_LARGE = 16 << 10
"""Pieces of so many bytes are not copied into larger ones."""

_MARK = b"\0"
"""Where pieces go in what is encoded around them: no JSON has this byte."""


class JsonPieces(ABC):
    """A value that is encoded already, and may be part of others."""

    @property
    @abstractmethod
    def pieces(self) -> list[bytes]:
        """What it is as JSON now."""


class JsonList(JsonPieces):
    """A list to which encoded items are added; it changes for whoever has it."""

    def __init__(self, items: Iterable[bytes] = ()) -> None:
        self._pieces: list[bytes] = []
        self._separator = b"["
        self._small: list[bytes] = []
        self._size = 0
        self.extend(items)

    def append(self, item: Iterable[bytes]) -> None:
        """Add an item that is in pieces itself."""
        small = self._small
        small.append(self._separator)
        self._separator = b","
        for piece in item:
            if len(piece) >= _LARGE:
                self._flush()
                self._pieces.append(piece)
                continue
            small.append(piece)
            self._size += len(piece)
        if self._size >= PIECE_BYTES:
            self._flush()

    def extend(self, items: Iterable[bytes]) -> None:
        """Add items."""
        for item in items:
            self.append((item,))

    @property
    def pieces(self) -> list[bytes]:
        """See JsonPieces."""
        end = b"[]" if self._separator == b"[" else b"]"
        return [*self._pieces, b"".join((*self._small, end))]

    def _flush(self) -> None:
        self._pieces.append(b"".join(self._small))
        self._small.clear()
        self._size = 0


class JsonText(JsonPieces):
    """A text, of which some was encoded before."""

    def __init__(self, text: str = "") -> None:
        self._pieces = [b'"']
        self._length = 0
        self.add(text)

    def __len__(self) -> int:
        """In characters."""
        return self._length

    def add(self, text: str) -> None:
        """More of it."""
        self._length += len(text)
        for start in range(0, len(text), PIECE_BYTES):
            self._pieces.append(msgspec.json.encode(text[start : start + PIECE_BYTES])[1:-1])

    def followed_by(self, text: str) -> "JsonText":
        """A longer text, which shares what there is of this one."""
        longer = JsonText()
        longer._length = self._length
        longer._pieces += self._pieces[1:]
        longer.add(text)
        return longer

    @property
    def pieces(self) -> list[bytes]:
        """See JsonPieces."""
        return [*self._pieces, b'"']


class JsonDocument(JsonPieces):
    """What is JSON already."""

    def __init__(self, document: bytes | str) -> None:
        """A text is encoded here; not on the event loop, if it may be long."""
        self._pieces = [document] if isinstance(document, bytes) else _encoded(document)

    @property
    def pieces(self) -> list[bytes]:
        """See JsonPieces."""
        return self._pieces


def encode_pieces(value: Any) -> list[bytes]:
    """Any value, and what it has of JsonPieces, as JSON in pieces."""
    found: list[JsonPieces] = []

    def place(part: Any) -> msgspec.Raw:
        if not isinstance(part, JsonPieces):
            raise TypeError(f"{type(part).__name__} cannot be JSON")
        found.append(part)
        return msgspec.Raw(_MARK)

    around = msgspec.json.Encoder(enc_hook=place).encode(value)
    if not found:
        return [around]
    first, *others = around.split(_MARK)
    pieces = [first]
    for part, other in zip(found, others, strict=True):
        pieces += part.pieces
        pieces.append(other)
    return pieces


def encode_json(value: Any) -> bytes:
    """All of it as one; not on the event loop, if it may be long."""
    return b"".join(encode_pieces(value))


def _encoded(text: str) -> list[bytes]:
    starts = range(0, len(text), PIECE_BYTES)
    return [text[start : start + PIECE_BYTES].encode() for start in starts]


def grouped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, small pieces joined."""
    group: list[bytes] = []
    size = 0
    for piece in pieces:
        if group and size + len(piece) > PIECE_BYTES:
            yield b"".join(group)
            group.clear()
            size = 0
        group.append(piece)
        size += len(piece)
    if group:
        yield b"".join(group)
