"""What is remembered of a request: the same, whether it went on or was taken up again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.sampling.memory import SamplingMemory, needs_memory
from server.sampling.params import NEVER, SamplingParams
from server.tokenizer.bytes import ByteTokenizer

IDS = st.lists(st.sampled_from(list(b"abc:")), max_size=30)


def params(**fields):
    return SamplingParams(max_tokens=40, seed=0, **fields)


def begin(how, prompt=(), generated=(), mu=None):
    return SamplingMemory(how, ByteTokenizer(), list(prompt), list(generated), mu)


def pairs(values):
    return dict(zip(values.tokens.tolist(), values.values.tolist(), strict=True))


@given(prompt=IDS, generated=IDS, cut=st.integers(0, 30))
def test_one_that_is_taken_up_again_knows_what_it_knew(prompt, generated, cut):
    how = params(
        frequency_penalty=0.5,
        penalty_decay=0.9,
        dry_multiplier=1.0,
        min_tokens=7,
        logit_bias=((97, 2.0),),
        allowed_token_ids=(99, 97),
        mirostat=2,
        bad_words=("ab", "c:"),
        penalty_last_n=5,
    )
    whole, resumed = begin(how, prompt), begin(how, prompt, generated[:cut], mu=3.25)
    for token in generated:
        whole.add(token)
    for token in generated[cut:]:
        resumed.add(token)
    for one, other in zip(whole.row(9).edits, resumed.row(9).edits, strict=True):
        assert pairs(one) == pytest.approx(pairs(other))
    assert (whole.mu, resumed.mu) == (10.0, 3.25)


def test_the_end_is_banned_until_min_tokens_were_generated():
    memory = begin(params(min_tokens=2, stop_token_ids=(5, 6), logit_bias=((5, 1.0), (7, NEVER))))
    banned = {0: NEVER, 5: NEVER, 6: NEVER, 7: NEVER}
    for expected in (banned, banned, {5: 1.0, 7: NEVER}, {5: 1.0, 7: NEVER}):
        assert pairs(memory.row(0).edits.biases) == expected
        memory.add(65)


def test_allowed_tokens_ascend_and_are_distinct():
    allowed = begin(params(allowed_token_ids=(9, 3, 9, 5))).row(0).edits.allowed.tokens
    np.testing.assert_array_equal(allowed, [3, 5, 9])


@pytest.mark.parametrize(
    "fields",
    [
        {"allowed_token_ids": (1,)},
        {"min_tokens": 1},
        {"logit_bias": ((1, 2.0),)},
        {"presence_penalty": 0.1},
        {"frequency_penalty": -0.1},
        {"repetition_penalty": 1.1},
        {"dry_multiplier": 0.1},
        {"mirostat": 2},
        {"bad_words": ("a",)},
    ],
)
def test_who_needs_a_memory(fields):
    assert needs_memory(params(**fields))


def test_who_needs_none():
    assert not needs_memory(params(top_k=5, top_p=0.5, min_p=0.1, typical_p=0.9))
    assert not needs_memory(params(xtc_probability=0.5, temperature=2.0, penalty_decay=0.5))
    assert not needs_memory(params(dry_multiplier=1.0, dry_penalty_last_n=0))
