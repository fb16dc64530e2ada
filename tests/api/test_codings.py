"""Codings of request bodies are undone in small pieces, whatever was sent."""

import gzip
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.api.bodies.codings import KNOWN, CorruptError, Decoder
from tests.api.encoders import CODERS, ENCODERS, Encode, zstd

SILENT = {  # blocks of nothing
    "deflate": b"\x78\x9c" + b"\x00\x00\x00\xff\xff" * 200_000,
    "zstd": zstd.compress(b"")[:6] + b"\x00\x00\x00" * 300_000,
    "gzip": gzip.compress(b"")[:10] + b"\x00\x00\x00\xff\xff" * 200_000,
}


@pytest.mark.parametrize("coding", KNOWN)
def test_what_unpacks_to_nothing_is_taken_in_by_small_pieces(coding: str) -> None:
    pieces = list(Decoder(coding).pieces(SILENT[coding]))
    assert not any(pieces)
    assert len(pieces) >= len(SILENT[coding]) // 4096


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
@pytest.mark.parametrize("held", [b"", b"x"])
def test_streams_that_hold_little_are_few(coding: str, held: bytes) -> None:
    pieces, count = Decoder(coding).pieces(ENCODERS[coding](held) * 10_000), itertools.count()
    with pytest.raises(CorruptError, match="too many streams"):
        all(next(count) >= 0 for _ in pieces)
    assert next(count) < 100
    decoder = Decoder(coding)  # those of tools that work on blocks side by side are many
    content = ENCODERS[coding](b"x" * 65_000) * 300
    assert sum(map(len, decoder.pieces(content))) == 300 * 65_000
    assert decoder.is_at_end


@given(
    coder=st.sampled_from(CODERS[:9]),
    data=st.binary(max_size=300) | st.binary(max_size=9).map(lambda some: some * 30_000),
    sizes=st.lists(st.integers(1, 5000), min_size=1),
)
def test_however_a_body_is_cut_it_unpacks_to_the_same(
    coder: tuple[str, Encode], data: bytes, sizes: list[int]
) -> None:
    coding, encode = coder
    coding = {"x-gzip": "gzip"}.get(coding.lower(), coding.lower())
    content, decoder, output, at, turn = encode(data), Decoder(coding), b"", 0, 0
    while at < len(content):
        assert decoder.is_at_end or at  # it is at its end only between streams
        size = sizes[turn % len(sizes)]
        output += b"".join(decoder.pieces(content[at : at + size]))
        at, turn = at + size, turn + 1
    assert output == data
    assert decoder.is_at_end
