"""Streaming text: complete characters only, and in all the same as decoding at once."""

from hypothesis import given
from hypothesis import strategies as st

from server.tokenizer.bytes import ByteTokenizer
from server.tokenizer.detokenizer import Detokenizer

BYTES = ByteTokenizer()


@given(st.lists(st.lists(st.integers(0, 300), max_size=5), max_size=20))
def test_any_bytes(pushes):
    detokenizer = Detokenizer(BYTES)
    text = "".join(detokenizer.push(ids) for ids in pushes) + detokenizer.flush()
    assert text == BYTES.decode([token_id for ids in pushes for token_id in ids])


@given(st.text(min_size=1))
def test_never_part_of_a_character(text):
    text = text.replace("\0", "")
    detokenizer = Detokenizer(BYTES)
    seen = ""
    for token_id in BYTES.encode(text):
        seen += detokenizer.push([token_id])
        assert text.startswith(seen)
    assert seen == text
    assert detokenizer.flush() == ""


def test_unfinished_and_invalid():
    detokenizer = Detokenizer(BYTES)
    assert detokenizer.push("é".encode()[:1]) == ""
    assert detokenizer.flush() == "�"
    assert detokenizer.push("é".encode()) == "é"
    assert detokenizer.push([0xFF, ord("a")]) == "�a"
    assert detokenizer.push([0xE4, 0xB8]) == ""
    assert detokenizer.push([ord("x")]) == "�x"


@given(st.text())
def test_byte_tokenizer_round_trip(text):
    assert BYTES.decode(BYTES.encode(text)) == text.replace("\0", "")
    assert 0 not in BYTES.encode(text)
