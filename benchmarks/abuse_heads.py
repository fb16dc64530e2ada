"""Heads of requests, and framing of bodies, that have no end."""

from collections.abc import Iterator

MB = 1 << 20
_BEGIN = b"POST /v1/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
_CHUNKED = _BEGIN + b"content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"


def small_headers() -> Iterator[bytes]:
    """100 MB of headers of 20 bytes."""
    yield _BEGIN
    for number in range(400):
        yield b"".join(b"x-%07d: 12345678\r\n" % (number * 12500 + i) for i in range(12500))


def long_header() -> Iterator[bytes]:
    """A header of 100 MB."""
    yield _BEGIN + b"x-long: "
    for _ in range(100):
        yield b"a" * MB


def long_url() -> Iterator[bytes]:
    """A URL of 100 MB."""
    yield b"GET /"
    for _ in range(100):
        yield b"a" * MB


def trailers() -> Iterator[bytes]:
    """100 MB of trailers."""
    yield _CHUNKED + b"2\r\n{}\r\n0\r\n"
    for _ in range(100):
        yield b"x-trailer: 123456789012345678901\r\n" * 32768


def chunk_extensions() -> Iterator[bytes]:
    """A chunk whose extension has 100 MB."""
    yield _CHUNKED + b"2;x="
    for _ in range(100):
        yield b"a" * MB
