"""Clients that compress what they send."""

import gzip
import sys
import zlib
from collections.abc import Callable

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Encode = Callable[[bytes], bytes]


def bare_deflate(data: bytes) -> bytes:
    """As some clients send "deflate"."""
    coder = zlib.compressobj(wbits=-15)
    return coder.compress(data) + coder.flush()


def zstd_stream(data: bytes) -> bytes:
    """Without the size in front, as Codex sends it."""
    coder = zstd.ZstdCompressor(level=3)
    return coder.compress(data) + coder.flush()


CODERS: list[tuple[str, Encode]] = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("GZip", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])),
    ("deflate", zlib.compress),
    ("deflate", bare_deflate),
    ("zstd", zstd.compress),
    ("zstd", zstd_stream),
    ("zstd", lambda data: zstd.compress(data, 19)),
    ("zstd", lambda data: zstd.compress(data[:9]) + zstd.compress(data[9:])),
    ("identity", bytes),
    ("", bytes),
    (", identity,gzip,", gzip.compress),
]
"""What clients name in Content-Encoding, and how they encode."""
CHECKED = {zstd.CompressionParameter.checksum_flag: 1}
ENCODERS: dict[str, Encode] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": lambda data: zstd.compress(data, options=CHECKED),
}
"""With checksums where there are any."""
