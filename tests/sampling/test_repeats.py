"""DRY: which tokens would extend a repetition, beside a twin that follows the definition."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.sampling.params import SamplingParams
from server.sampling.repeats import Repeats
from tests import naive

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
