"""The World tokenizer against a naive longest match, and its vocabulary file."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.tokenizer.base import TokenizerError
from server.tokenizer.world import WorldTokenizer, load_world_vocabulary, parse_vocabulary


@pytest.fixture(scope="module")
def world():
    return WorldTokenizer(load_world_vocabulary())


def naive_encode(tokens, data):
    ids = {token: token_id for token_id, token in tokens.items()}
    longest = max(map(len, ids))
    found = []
    while data:
        length = next(n for n in range(min(longest, len(data)), 0, -1) if data[:n] in ids)
        found.append(ids[data[:length]])
        data = data[length:]
    return found


def test_published_vocabulary(world):
    assert world.vocab_size == 65_530
    assert world.eos_id == 0
    assert world.token_bytes(0) == b""
    assert world.token_bytes(65_535) == b""
    assert world.token_bytes(66) == b"A"
    assert world.encode("") == []
    # The example of the tokenizer's own documentation: words with their leading space.
    assert [world.token_bytes(i) for i in world.encode("Hello world!")] == [
        b"Hello",
        b" world",
        b"!",
    ]


@given(text=st.text(max_size=80) | st.text(" \n=-ab中文é😀", max_size=200))
def test_longest_match_and_round_trip(world, text):
    ids = world.encode(text)
    assert world.decode(ids) == text
    assert ids == naive_encode(load_world_vocabulary(), text.encode())


@given(st.data())
def test_longest_match_of_a_small_vocabulary(data):
    words = data.draw(st.sets(st.binary(min_size=2, max_size=5).map(lambda b: b"ab" + b[2:])))
    words |= data.draw(st.sets(st.text("abc", min_size=2, max_size=6).map(str.encode)))
    tokens = dict(enumerate(sorted({bytes((b,)) for b in range(256)} | words), 1))
    text = data.draw(st.text("abc", max_size=60))
    assert WorldTokenizer(tokens).encode(text) == naive_encode(tokens, text.encode())


def test_half_surrogates_do_not_raise(world):
    assert world.decode(world.encode("a\ud800b")) == "a?b"


def test_fast_enough(world):
    text = "The quick brown fox jumps over the lazy dog; 敏捷的棕色狐狸。\n" * 3000
    start = time.process_time()
    world.encode(text)
    seconds = time.process_time() - start
    assert len(text.encode()) / seconds > 200_000  # over 2 MB/s on an idle core


@pytest.mark.parametrize(
    "line", ["1 'ab' 3", "1 'ab'", "x 'a' 1", "1 open('x') 1", "1 '' 0", "1 3 3", "1 'a 1", "1"]
)
def test_damaged_vocabulary(line):
    with pytest.raises(TokenizerError, match="line 2 is damaged"):
        parse_vocabulary("1 b'\\xff' 1\n" + line)


def test_incomplete_vocabulary():
    with pytest.raises(TokenizerError, match="single bytes"):
        WorldTokenizer({1: b"a"})
    with pytest.raises(TokenizerError, match="empty"):
        parse_vocabulary("")
