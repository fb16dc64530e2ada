"""Frames of WebSocket (RFC 6455), without extensions: those of a client are read, ours written."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

NORMAL, GOING_AWAY, PROTOCOL_ERROR, UNSUPPORTED = 1000, 1001, 1002, 1003
TOO_LARGE, TRY_AGAIN = 1009, 1013

_LONGEST_CONTROL = 125
_MASK_BYTES = 4
_PIECE_BYTES = 16 << 10


class FrameError(Exception):
    """The client does not keep to the protocol, or asks for too much: `code` closes for it."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


@dataclass(frozen=True)
class Part:
    """A whole control frame, or some bytes of a text message."""

    opcode: int
    data: bytes = b""
    begins: bool = False
    """Whether a message begins with it."""
    ends: bool = False
    """Whether it is the end of its message."""


class FrameReader:
    """Makes parts of the bytes that came; a message is given out as it comes, never collected."""

    def __init__(self, max_message_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._buffer = bytearray()
        self._is_in_message = False
        self._message_bytes = 0
        self._left = 0
        """Bytes of the frame at hand that have not come."""
        self._mask = b""
        self._final = False
        self._begins = False

    def add(self, data: bytes) -> None:
        """Bytes came."""
        self._buffer += data

    def parts(self) -> Iterator[Part]:
        """What is whole of what came. Raises FrameError."""
        while True:
            part = self._rest_of_frame() if self._left else self._next_frame()
            if part is None:
                return
            yield part

    def _next_frame(self) -> Part | None:
        head = self._head()
        if head is None:
            return None
        size, opcode, length, final = head
        if opcode >= CLOSE:
            end = size + length
            if len(self._buffer) < end:
                return None
            payload = _masked(bytes(self._buffer[size:end]), self._mask)
            del self._buffer[:end]
            return Part(opcode, payload)
        del self._buffer[:size]
        self._begins = opcode != CONTINUATION
        self._is_in_message, self._final, self._left = not final, final, length
        return self._rest_of_frame() if length else self._part(b"")

    def _rest_of_frame(self) -> Part | None:
        if not self._buffer:
            return None
        data = bytes(self._buffer[: min(self._left, _PIECE_BYTES)])
        del self._buffer[: len(data)]
        self._left -= len(data)
        piece = _masked(data, self._mask)
        turn = len(data) % _MASK_BYTES
        self._mask = self._mask[turn:] + self._mask[:turn]
        return self._part(piece)

    def _part(self, data: bytes) -> Part:
        part = Part(TEXT, data, self._begins, self._final and not self._left)
        self._begins = False
        return part

    def _head(self) -> tuple[int, int, int, bool] | None:
        """Size of the head, opcode, length and whether it is final; None while it is not whole."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        first, second = buffer[0], buffer[1]
        opcode, final = first & 0x0F, bool(first & 0x80)
        self._check(first, second, opcode, final)
        size, length = 2, second & 0x7F
        if length > _LONGEST_CONTROL:
            form = ">H" if length == _LONGEST_CONTROL + 1 else ">Q"
            size += struct.calcsize(form)
            if len(buffer) < size:
                return None
            (length,) = struct.unpack_from(form, buffer, 2)
        self._check_length(opcode, length)
        if len(buffer) < size + _MASK_BYTES:
            return None
        self._mask = bytes(buffer[size : size + _MASK_BYTES])
        if opcode < CLOSE:
            begun = self._message_bytes if opcode == CONTINUATION else 0
            self._message_bytes = begun + length
        return size + _MASK_BYTES, opcode, length, final

    def _check(self, first: int, second: int, opcode: int, final: bool) -> None:
        if first & 0x70:
            raise FrameError(PROTOCOL_ERROR, "extensions were not agreed upon")
        if not second & 0x80:
            raise FrameError(PROTOCOL_ERROR, "frames of clients must be masked")
        if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise FrameError(PROTOCOL_ERROR, "unknown opcode")
        if opcode >= CLOSE and (not final or second & 0x7F > _LONGEST_CONTROL):
            raise FrameError(PROTOCOL_ERROR, "control frames must be short and whole")
        if opcode < CLOSE and (opcode == CONTINUATION) != self._is_in_message:
            raise FrameError(PROTOCOL_ERROR, "a message must end before the next one")
        if opcode == BINARY:
            raise FrameError(UNSUPPORTED, "messages must be text")

    def _check_length(self, opcode: int, length: int) -> None:
        begun = self._message_bytes if opcode == CONTINUATION else 0
        if opcode < CLOSE and begun + length > self._max_message_bytes:
            most = self._max_message_bytes
            raise FrameError(TOO_LARGE, f"messages must be at most {most} bytes")


def frame(opcode: int, payload: bytes = b"") -> bytes:
    """A whole frame of the server's."""
    size = len(payload)
    if size <= _LONGEST_CONTROL:
        head = struct.pack(">BB", 0x80 | opcode, size)
    elif size < 1 << 16:
        head = struct.pack(">BBH", 0x80 | opcode, _LONGEST_CONTROL + 1, size)
    else:
        head = struct.pack(">BBQ", 0x80 | opcode, _LONGEST_CONTROL + 2, size)
    return head + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """The last frame."""
    return frame(CLOSE, struct.pack(">H", code) + reason.encode()[: _LONGEST_CONTROL - 2])


def _masked(data: bytes, mask: bytes) -> bytes:
    if not data:
        return data
    key = (mask * (len(data) // _MASK_BYTES + 1))[: len(data)]
    both = int.from_bytes(data, "big") ^ int.from_bytes(key, "big")
    return both.to_bytes(len(data), "big")
