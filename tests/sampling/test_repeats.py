"""DRY: which tokens would extend a repetition, beside a twin that follows the definition."""

import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.sampling.params import SamplingParams
from server.sampling.repeats import Breakers, Repeats
from tests import naive
from tests.processor import slowness

TEXTS = [b"a", b"b", b"c", b"ab", b"x:", b"::", b"", b"n\n", b"\xc3", b"\xa9"]


def token_bytes(token):
    return TEXTS[token]


def params(**fields):
    return SamplingParams(max_tokens=1, seed=0, **{"dry_multiplier": 0.5, **fields})


def found(repeats):
    biases = repeats.biases()
    return dict(zip(biases.tokens.tolist(), (-biases.values).tolist(), strict=True))


COMMON = {"allowed_length": 1, "base": 1.75}


@settings(max_examples=400, deadline=None)
# Repetitions, and a breaker, that begin before what is looked at.
@example(sequence=[0] * 9, begun=0, last_n=3, breakers=[], **COMMON)
@example(sequence=[5, *[0] * 5], begun=6, last_n=5, breakers=["::aa"], **COMMON)
@given(
    sequence=st.lists(st.integers(0, 3) | st.integers(0, 9), max_size=60),
    begun=st.integers(0, 60),
    allowed_length=st.integers(1, 4),
    base=st.sampled_from([1.0, 1.75, 3.0]),
    last_n=st.sampled_from([1, 2, 7, 25, 100]),
    breakers=st.lists(st.sampled_from([":", "ab", "aba", "::a", "é", "\n", "abcab"]), max_size=3),
)
def test_penalties_are_the_twins_wherever_the_sequence_was_begun(
    sequence, begun, allowed_length, base, last_n, breakers
):
    how = params(
        dry_base=base,
        dry_allowed_length=allowed_length,
        dry_penalty_last_n=last_n,
        dry_sequence_breakers=tuple(breakers),
    )
    repeats = Repeats(how, token_bytes, sequence[:begun])
    for token in sequence[begun:]:
        repeats.add(token)
    encoded = [breaker.encode() for breaker in breakers]
    expected = naive.dry_penalties(
        sequence, token_bytes, encoded, 0.5, base, allowed_length, last_n
    )
    assert found(repeats) == pytest.approx(expected, rel=1e-6)


def test_the_example_of_its_author():
    """After "a b c … a b" the c gets multiplier · base ** (2 − 2); after "a b c" what followed."""
    repeats = Repeats(params(), token_bytes, [0, 1, 2, 8, 0, 1])
    assert found(repeats) == {2: 0.5}
    repeats.add(2)
    assert found(repeats) == {8: 0.5 * 1.75}


def test_a_long_sequence_of_one_token_is_quick_and_its_penalty_finite():
    repeats = Repeats(params(dry_base=10.0, dry_multiplier=100.0), token_bytes, [0] * 40_000)
    for _ in range(50):
        repeats.add(0)
    ((token, penalty),) = found(repeats).items()
    assert token == 0
    assert 1e38 < penalty < np.inf


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.text("abc", min_size=1, max_size=6), max_size=6),
    st.lists(st.binary(max_size=5) | st.sampled_from([b"a", b"ab", b"abc", b"ca"]), max_size=25),
)
def test_a_breaker_is_found_where_it_ends_whatever_others_begin_there(strings, texts):
    breakers = Breakers(strings, texts.__getitem__, [])
    data, since = b"", 0
    for token, text in enumerate(texts):
        breakers.add(token)
        before, data = len(data), data + text
        ends = any(
            data[:end].endswith(string.encode())
            for end in range(before + 1, len(data) + 1)
            for string in strings
        )
        since = 0 if ends else since + 1
        assert breakers.tokens_since == since
        assert breakers.in_token(token) == any(string.encode() in text for string in strings)


def test_many_followers_and_breakers_cost_little_once_they_are_known():
    """The followers of a token that is every second one, each a token of its own."""
    sequence = [token for number in range(1, 6000) for token in (0, number)]
    strings = tuple(chr(0x4E00 + number) * 20 for number in range(64))
    how = params(dry_allowed_length=1, dry_sequence_breakers=strings)
    repeats = Repeats(how, lambda token: b"%d" % token, sequence)
    repeats.add(0)
    assert len(repeats.biases().tokens) == 5999
    began = time.process_time()
    repeats.biases()
    assert time.process_time() - began < 0.03 * slowness()
