"""Edits of logits and the filters after the temperature, beside their twins in float64."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.kernels.sampling import uniform
from server.kernels.team import Team
from server.sampling.edits import Edits, TokenValues
from server.sampling.mirostat import Mirostat
from server.sampling.params import NEVER, SamplingParams
from server.sampling.sampler import Sampler, SampleRow
from tests import naive
from tests.kernels.test_sampling import draw


def values(pairs):
    return TokenValues(np.array(list(pairs), np.int64), np.array(list(pairs.values()), np.float32))


def params(**fields):
    return SamplingParams(**{"max_tokens": 1, "seed": 0, **fields})


def assert_drawn(probabilities, token, u):
    """The token is the one at which the running sum of probabilities passes u."""
    below = probabilities[:token].sum()
    assert probabilities[token] > 0
    assert below - 1e-6 <= u <= below + probabilities[token] + 1e-6


FILTERS = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.3, 1.0, 2.5]),
        "top_k": st.sampled_from([0, 1, 7, 40]),
        "typical_p": st.sampled_from([0.05, 0.4, 0.9, 1.0]),
        "top_p": st.sampled_from([0.3, 0.95, 1.0]),
        "min_p": st.sampled_from([0.0, 0.03, 0.2, 1.0]),
    }
)


@given(
    seed=st.integers(0, 2**32),
    size=st.integers(1, 700),
    filters=FILTERS,
    xtc=st.none() | st.sampled_from([0.0, 0.02, 0.2, 0.6]),
    mu=st.none() | st.sampled_from([-1.0, 0.5, 3.0, 9.0]),
)
@settings(max_examples=300, deadline=None)
def test_all_filters_together_are_the_twins(seed, size, filters, xtc, mu):
    logits = (np.random.default_rng(seed).standard_normal(size) * 3).astype(np.float32)
    twin = naive.filtered(logits, **filters, xtc=xtc, mu=np.inf if mu is None else mu)
    how = params(
        **filters,
        seed=seed,
        xtc_probability=0 if xtc is None else 1,
        xtc_threshold=xtc or 0,
        mirostat_tau=3.5,
        mirostat_eta=0.25,
    )
    mirostat = None if mu is None else Mirostat(how, mu)
    row = SampleRow(how, 7, mirostat=mirostat)
    (token,) = Sampler(size, Team(1)).sample(logits.reshape(1, -1).copy(), [row])
    assert_drawn(twin, token, uniform(seed, 7))
    if mirostat:
        expected = mu - 0.25 * (-math.log2(twin[token]) - 3.5)
        assert mirostat.mu == pytest.approx(expected, abs=1e-4)


@given(
    logits=st.lists(st.sampled_from([-5.0, 0.0, 1.0, 1.0, math.nan, NEVER]), min_size=1),
    filters=FILTERS,
    more=st.fixed_dictionaries(
        {
            "xtc_probability": st.sampled_from([0, 0.5, 1]),
            "xtc_threshold": st.sampled_from([0, 0.1, 0.5, 1]),
        }
    ),
    mu=st.none() | st.sampled_from([-1e9, 0.0, 2.0, 1e9]),
)
@settings(max_examples=200, deadline=None)
def test_some_token_is_always_left(logits, filters, more, mu):
    """Also among equals, and whatever is asked."""
    how = params(**filters, **more)
    row = SampleRow(how, 3, mirostat=None if mu is None else Mirostat(how, mu))
    (token,) = Sampler(len(logits), Team(1)).sample(np.array([logits], np.float32), [row])
    assert (token >= 0) == any(map(math.isfinite, logits))
    assert token < 0 or math.isfinite(logits[token])


@given(
    seed=st.integers(0, 2**32),
    allowed=st.sets(st.integers(0, 49)),
    biases=st.dictionaries(st.integers(0, 49), st.sampled_from([NEVER, -7.5, 0.0, 2.0, 100.0])),
    counts=st.dictionaries(st.integers(0, 49), st.sampled_from([0.5, 1.0, 4.0])),
    repeats=st.dictionaries(st.integers(0, 49), st.sampled_from([-0.8, -30.0])),
    temperature=st.sampled_from([0, 1.5]),
)
@settings(max_examples=200, deadline=None)
def test_edits_act_in_their_order_as_the_twins(seed, allowed, biases, counts, repeats, temperature):
    logits = np.random.default_rng(seed).standard_normal(50) * 3
    penalties = {"presence_penalty": 0.4, "frequency_penalty": -0.7, "repetition_penalty": 1.3}
    expected = naive.biased(logits, biases, allowed)
    expected = naive.penalized(expected, counts, *penalties.values())
    expected = naive.biased(expected, repeats)
    edits = Edits(
        allowed=values(dict.fromkeys(sorted(allowed), 0.0)),
        biases=values(biases),
        counts=values(counts),
        repeats=values(repeats),
    )
    token = draw(logits, 5, edits, seed=seed, temperature=temperature, **penalties)
    if not np.isfinite(expected).any():
        assert token < 0
    elif temperature:
        assert_drawn(naive.filtered(expected, temperature), token, uniform(seed, 5))
    else:
        assert token == expected.argmax()


def test_typical_p_can_drop_the_most_likely_token():
    """Where many share most of the mass, the most likely one says too little."""
    logits = np.log(np.array([0.3, *[0.7 / 64] * 64]))
    found = {draw(logits, position, typical_p=0.4) for position in range(50)}
    assert found
    assert 0 not in found


def test_min_p_keeps_what_is_likely_beside_the_most_likely():
    logits = np.log(np.array([0.5, 0.3, 0.06, 0.04, 0.1]))
    assert {draw(logits, position, min_p=0.11) for position in range(400)} == {0, 1, 2, 4}


def test_xtc_leaves_the_least_of_the_likely_and_all_of_the_unlikely():
    logits = np.log(np.array([0.3, 0.25, 0.25, 0.1, 0.1]))
    always = {"xtc_probability": 1, "xtc_threshold": 0.2}
    found = {draw(logits, position, **always) for position in range(200)}
    assert found == {2, 3, 4}  # of equals the lower ids count as the likelier ones
    alone = {draw(logits, position, **always | {"xtc_threshold": 0.28}) for position in range(200)}
    assert alone == {0, 1, 2, 3, 4}


def test_xtc_acts_as_often_as_its_probability_and_whatever_the_token_that_is_drawn():
    logits = np.log(np.array([0.5, 0.5]))
    positions = range(3000)
    plain = np.array([draw(logits, p, seed=9) for p in positions])
    fields = {"xtc_probability": 0.3, "xtc_threshold": 0.2}
    # Where it acts, only token 1 is left.
    acted = np.array([draw(logits, p, seed=9, **fields) for p in positions]) != plain
    assert abs(acted[plain == 0].mean() - 0.3) < 0.04


def test_mirostat_leads_the_surprise_to_tau():
    """With a fixed distribution of about 8 bits, tokens become worth about 4."""
    logits = (np.random.default_rng(1).standard_normal(2000) * 2).astype(np.float32)
    how = params(mirostat=2, mirostat_tau=4.0, mirostat_eta=0.1)
    mirostat, sampler, surprises = Mirostat(how, None), Sampler(2000, Team(1)), []
    for position in range(600):
        before = mirostat.mu
        sampler.sample(logits.reshape(1, -1).copy(), [SampleRow(how, position, mirostat=mirostat)])
        surprises.append((before - mirostat.mu) / 0.1 + 4.0)
    assert abs(np.mean(surprises[100:]) - 4.0) < 0.1


def test_rows_with_and_without_samplers_are_drawn_alike_alone_and_together_on_any_team():
    logits = np.random.default_rng(9).standard_normal((14, 1000)).astype(np.float32) * 4
    tried = [
        {"typical_p": 0.5},
        {"min_p": 0.1},
        {"xtc_probability": 0.5, "xtc_threshold": 0.05},
        {"top_k": 30, "typical_p": 0.9, "top_p": 0.9, "min_p": 0.01, "xtc_probability": 1.0},
        {"mirostat": 2, "mirostat_tau": 2.0},
        {"temperature": 0},
        {},
    ]
    edits = Edits(values({3: 0.0, 999: 0.0}), values({3: 5.0}), values({3: 2.0}), values({3: -1.0}))

    def rows():
        made = []
        for i in range(14):
            how = params(seed=i, **tried[i % 7])
            mirostat = Mirostat(how, None) if how.mirostat else None
            made.append(SampleRow(how, i, edits if i % 3 == 1 else None, mirostat))
        return made

    def outcome(tokens, rows):
        return tokens, [row.mirostat.mu for row in rows if row.mirostat]

    one = rows()
    alone = [
        Sampler(1000, Team(1)).sample(logits[i : i + 1].copy(), one[i : i + 1])[0]
        for i in range(14)
    ]
    for threads in (1, 2, 5):
        together = rows()
        tokens = Sampler(1000, Team(threads)).sample(logits.copy(), together)
        assert outcome(tokens, together) == outcome(alone, one)
