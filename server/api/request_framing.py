"""Where requests begin and end in the bytes of a connection, and how large their heads may be."""

import re

MAX_HEADER_LINES = 256
"""Each header costs some 200 bytes of objects, however short it is."""

_FRAMING_PER_BODY_BYTE = 8
"""A byte of body pays for this many of chunk framing: the smallest chunk is one byte in six."""

_CHUNKED_PIECE_BYTES = 4 << 10
"""Hundreds of the smallest chunks: the loop gets its turn between pieces."""

_END = b"\r\n\r\n"
_UPGRADE = re.compile(rb"(?im)^upgrade(?=[ \t]*:)")
_UNUSED_UPGRADE = b"x-unused-upgrade"


class HeadTooLargeError(Exception):
    """A request line, headers, trailers or chunk framing beyond the limit."""


class RequestFraming:
    """Cuts received bytes into pieces for the parser, none of which reaches into the next request.

    The parser is fed whole header sections, so it never joins a long header from many reads. It
    reports back through head_complete(), body() and message_complete(). `Upgrade` headers are
    renamed: the parser would take a body for a next request. A route that takes an offer reads the
    other name (websocket/handshake.py).

    Bytes outside bodies are counted per request. Body bytes lower the count, so that the framing
    of many honest chunks passes, while extensions, padding and trailers do not.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._data = b""
        self._at = 0
        self._tail = b""
        """The last bytes of the chunked body that were given out."""
        self._begin()

    def _begin(self) -> None:
        self._count = 0
        self._has_begun = self._has_request_line = False
        self._body_left: int | None = None
        """Bytes of a body of known length; None while in the head or in a chunked body."""
        self.in_head = True

    @property
    def pending(self) -> int:
        """Bytes that were received and not given out."""
        return len(self._data) - self._at

    def add(self, data: bytes) -> None:
        """Bytes were received."""
        self._data = self._data[self._at :] + data if self.pending else data
        self._at = 0

    def take_all(self) -> bytes:
        """What is pending, for a connection that leaves HTTP."""
        data = self._data[self._at :]
        self.clear()
        return data

    def clear(self) -> None:
        """Forget what is pending."""
        self._data, self._at = b"", 0

    def head_complete(self, length: int | None) -> None:
        """The parser has seen all headers; `length` is None for a chunked body."""
        self.in_head = False
        self._body_left = length

    def body(self, size: int) -> None:
        """The parser has seen bytes of the body."""
        if self._body_left is None:
            self._count = max(0, self._count - (1 + _FRAMING_PER_BODY_BYTE) * size)
        else:
            self._body_left -= size

    def message_complete(self) -> None:
        """The parser has seen the end of the request."""
        self._tail = b""
        self._begin()

    def next_piece(self) -> bytes:
        """What the parser gets next; empty while it has to wait. Raises HeadTooLargeError."""
        if not self.pending:
            return b""
        if not self.in_head:
            return self._piece_of_body()
        return self._piece_of_headers() if self._has_request_line else self._piece_of_request_line()

    def check(self) -> None:
        """Whether what the parser got was within the limit. Raises HeadTooLargeError."""
        if self._count > self._max_bytes:
            raise HeadTooLargeError

    def _piece_of_request_line(self) -> bytes:
        # As it comes: what speaks another protocol is refused at its first bytes.
        if not self._has_begun:
            rest = self._data[self._at :].lstrip(b"\r\n")
            self._give_out(self.pending - len(rest), counted=True)
            if not rest:
                return b""
            self._has_begun = True
        end = self._data.find(b"\n", self._at) + 1
        self._has_request_line = bool(end)
        return self._give_out((end or len(self._data)) - self._at, counted=True)

    def _piece_of_headers(self) -> bytes:
        if self._data.startswith(_END[:2], self._at):  # no headers at all
            return self._give_out(2, counted=True)
        found = self._data.find(_END, self._at)
        size = found + len(_END) - self._at if found >= 0 else self.pending
        if self._count + size > self._max_bytes:
            raise HeadTooLargeError
        if found < 0:
            return b""
        if self._data.count(b"\n", self._at, found) >= MAX_HEADER_LINES:
            raise HeadTooLargeError
        return _UPGRADE.sub(_UNUSED_UPGRADE, self._give_out(size, counted=True))

    def _piece_of_body(self) -> bytes:
        if self._body_left is not None:
            return self._give_out(min(self.pending, self._body_left))
        # A chunked request ends with an empty line, though not each of them is an end.
        for known in (3, 2, 1):
            if self._tail.endswith(_END[:known]) and self._data.startswith(_END[known:], self._at):
                size = len(_END) - known
                break
        else:
            most = min(self.pending, _CHUNKED_PIECE_BYTES)
            found = self._data.find(_END, self._at, self._at + most)
            size = found + len(_END) - self._at if found >= 0 else most
        piece = self._give_out(size, counted=True)
        self._tail = (self._tail + piece[-3:])[-3:]
        return piece

    def _give_out(self, size: int, counted: bool = False) -> bytes:
        piece = self._data[self._at : self._at + size]
        self._at += size
        if counted:
            self._count += size
            if self.in_head:
                self.check()
        return piece
