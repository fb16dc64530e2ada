"""Codings of request bodies, undone in small pieces whatever they unpack to."""

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

OUTPUT_BYTES = 64 << 10
"""Of a piece, at most."""
_INPUT_BYTES = 4 << 10
"""At a time: some kinds of blocks take long and say nothing."""

_ZSTD_WINDOW_BITS = 23
"""8 MiB, which RFC 9659 has as the most for HTTP: a window is memory that the sender asks for."""

_FREE_STREAMS = 64
_BYTES_PER_STREAM = 4 << 10
"""Streams may follow one another, but each costs some microseconds, whatever it holds."""


class CorruptError(ValueError):
    """A body that is not what its coding makes."""


class _Stream(Protocol):
    """One compressed stream, as zstd and bz2 have it."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _ZlibStream:
    """The same of zlib. Without `bits` the first byte tells whether there is a header: "deflate"
    is sent with one and without."""

    def __init__(self, bits: int | None = None) -> None:
        self._decoder = None if bits is None else zlib.decompressobj(bits)
        self._may_have_more = False

    @property
    def eof(self) -> bool:
        return self._decoder is not None and self._decoder.eof

    @property
    def needs_input(self) -> bool:
        return not (self.eof or self._may_have_more)

    @property
    def unused_data(self) -> bytes:
        return b"" if self._decoder is None else self._decoder.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if self._decoder is None:
            # 8 is zlib's only method. A bare stream would begin with a stored block that is not
            # padded with zeros, as they are.
            has_header = data[0] & 15 == 8
            self._decoder = zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
        decoder = self._decoder
        output = decoder.decompress(decoder.unconsumed_tail + data, max_length)
        self._may_have_more = bool(decoder.unconsumed_tail) or len(output) == max_length
        return output


def _zstd_stream() -> _Stream:
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_BITS}
    return zstd.ZstdDecompressor(options=options)


def _gzip_stream() -> _Stream:
    return _ZlibStream(16 + zlib.MAX_WBITS)


_STREAMS: dict[str, Callable[[], _Stream]] = {
    "gzip": _gzip_stream,
    "deflate": _ZlibStream,
    "zstd": _zstd_stream,
}
_SAME = {"x-gzip": "gzip"}

KNOWN = tuple(_STREAMS)
"""The names of the codings that there are."""


def coding_named(name: str) -> str | None:
    """The coding's one name; None for one that is not known."""
    name = name.lower()
    name = _SAME.get(name, name)
    return name if name in _STREAMS else None


class Decoder:
    """Undoes a coding. A body may be several streams in a row."""

    def __init__(self, coding: str) -> None:
        self._new = _STREAMS[coding]
        self._stream: _Stream | None = None
        self._streams = self._output = 0
        self._has_several = coding != "deflate"

    @property
    def is_at_end(self) -> bool:
        """Whether the body may end here."""
        return self._stream is None

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What more of the body unpacks to; a piece may be empty, but is soon there.

        Raises CorruptError.
        """
        for start in range(0, len(data), _INPUT_BYTES):
            rest = data[start : start + _INPUT_BYTES]
            while rest or not (self._stream is None or self._stream.needs_input):
                piece, rest = self._step(rest)
                yield piece

    def _step(self, data: bytes) -> tuple[bytes, bytes]:
        """A piece, and what is left of the data."""
        if self._stream is None:
            self._begin()
        stream = self._stream
        assert stream is not None
        try:
            piece = stream.decompress(data, OUTPUT_BYTES)
        except (zlib.error, zstd.ZstdError) as error:
            raise CorruptError(str(error)) from None
        self._output += len(piece)
        if not stream.eof:
            return piece, b""
        self._stream = None
        return piece, stream.unused_data

    def _begin(self) -> None:
        if self._streams and not self._has_several:
            raise CorruptError("something comes after its end")
        if self._streams > _FREE_STREAMS + self._output // _BYTES_PER_STREAM:
            raise CorruptError("it is of too many streams that hold little")
        self._streams += 1
        self._stream = self._new()
