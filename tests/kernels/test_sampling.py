from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.kernels.sampling import NO_TOKEN, uniform
from server.kernels.team import Team
from server.sampling.edits import Edits
from server.sampling.params import SamplingParams
from server.sampling.penalties import PenaltyCounts
from server.sampling.sampler import Sampler, SampleRow
from tests import naive


def draw(logits, position=0, edits=None, team=None, **params):
    row = SampleRow(SamplingParams(**{"max_tokens": 1, "seed": 0, **params}), position, edits)
    sampler = Sampler(logits.shape[-1], team or Team(1))
    return sampler.sample(logits.astype(np.float32).reshape(1, -1), [row])[0]


def test_uniform_is_uniform_and_depends_on_both_keys():
    draws = np.array([[uniform(seed, position) for position in range(200)] for seed in range(50)])
    assert draws.min() >= 0
    assert draws.max() < 1
    assert len(np.unique(draws)) == draws.size
    histogram = np.histogram(draws, bins=20, range=(0, 1))[0]
    assert abs(histogram - draws.size / 20).max() < 6 * np.sqrt(draws.size / 20)
    assert uniform(np.uint64(2**64 - 1), 0) != uniform(np.uint64(0), 0)


@given(
    seed=st.integers(0, 2**32),
    size=st.integers(1, 300),
    top_k=st.integers(0, 40),
    top_p=st.sampled_from([0.05, 0.3, 0.5, 0.9, 0.99, 1.0]),
    temperature=st.sampled_from([0.3, 1.0, 2.5]),
)
@settings(max_examples=150, deadline=None)
def test_the_draw_is_the_twins(seed, size, top_k, top_p, temperature):
    logits = (np.random.default_rng(seed).standard_normal(size) * 3).astype(np.float32)
    token = draw(logits, 7, seed=seed, top_k=top_k, top_p=top_p, temperature=temperature)
    probabilities = naive.filtered(logits, temperature, top_k, top_p)
    running = np.cumsum(probabilities)
    u = uniform(seed, 7)
    assert probabilities[token] > 0
    assert running[token] >= u - 1e-6
    assert running[token] - probabilities[token] <= u + 1e-6


def test_frequencies_follow_the_probabilities():
    logits = np.log(np.array([0.5, 0.25, 0.15, 0.1]))
    found = Counter(draw(logits, position, seed=3) for position in range(4000))
    for token, probability in enumerate([0.5, 0.25, 0.15, 0.1]):
        assert abs(found[token] / 4000 - probability) < 0.03


def test_greedy_takes_the_lowest_of_equals():
    assert draw(np.array([0.0, 2.0, 1.0, 2.0]), temperature=0) == 1


def test_ties_at_the_border_of_top_k_keep_the_lowest_ids():
    logits = np.array([1.0, 5.0, 1.0, 1.0])
    found = {draw(logits, position, top_k=2, temperature=5.0) for position in range(200)}
    assert found == {0, 1}


@pytest.mark.parametrize("top_p", [0.0, 1e-300, 1e-9])
def test_top_p_of_nearly_nothing_is_greedy(top_p):
    logits = np.array([0.1, 0.3, 0.2, *np.zeros(3000)])
    assert {draw(logits, position, top_p=top_p) for position in range(50)} == {1}


@pytest.mark.parametrize("temperature", [0, 1])
def test_values_that_are_not_finite_are_never_drawn(temperature):
    logits = np.array([np.nan, np.inf, 0.0, -np.inf])
    assert {draw(logits, p, temperature=temperature) for p in range(20)} == {2}
    assert draw(np.full(4, np.nan), temperature=temperature) == NO_TOKEN


@pytest.mark.parametrize("temperature", [1e-6, 1e-300])
def test_tiny_temperature_does_not_overflow(temperature):
    assert draw(np.array([1e30, 2e30, -1e30]), temperature=temperature) == 1
    assert draw(np.array([0.0, 1e-3, 0.5]), temperature=temperature) == 2


@pytest.mark.parametrize("size", [1, 255, 256, 257, 5000])
def test_vocabularies_of_any_size(size):
    logits = np.zeros(size)
    logits[-1] = 20
    assert {draw(logits, position, top_p=0.9) for position in range(20)} == {size - 1}


def test_penalties_match_the_twin():
    rng = np.random.default_rng(5)
    logits = rng.standard_normal(50)
    counts = PenaltyCounts(decay=0.9)
    history = [3, 7, 3, 3, 11, 7]
    for token in history:
        counts.add(token)
    expected_counts = {
        token: sum(0.9 ** (len(history) - 1 - i) for i, t in enumerate(history) if t == token)
        for token in set(history)
    }
    found = dict(zip(*map(np.ndarray.tolist, counts.values), strict=True))
    assert found == pytest.approx(expected_counts, rel=1e-5)
    params = {"presence_penalty": 0.4, "frequency_penalty": 0.7, "repetition_penalty": 1.3}
    penalized = naive.penalized(logits, expected_counts, *params.values())
    for position in range(60):
        token = draw(logits, position, Edits(counts=counts.values), **params)
        probabilities = naive.filtered(penalized, 1.0, 0, 1.0)
        below = probabilities[:token].sum()
        assert below - 1e-6 <= uniform(0, position) <= below + probabilities[token] + 1e-6


def test_a_row_is_drawn_alike_alone_and_among_others_on_any_team():
    rng = np.random.default_rng(9)
    logits = rng.standard_normal((13, 1000)).astype(np.float32) * 4
    rows = [
        SampleRow(
            SamplingParams(
                max_tokens=1, seed=i, temperature=0.5 + i / 5, top_p=0.6 + i / 40, top_k=i * 9
            ),
            position=i,
        )
        for i in range(13)
    ]
    alone = [
        Sampler(1000, Team(1)).sample(logits[i : i + 1].copy(), [rows[i]])[0] for i in range(13)
    ]
    for threads in (1, 2, 5):
        assert Sampler(1000, Team(threads)).sample(logits.copy(), rows) == alone


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    size=st.integers(1, 300),
    temperature=st.sampled_from([0.0, 0.7, 2.5]),
    top_k=st.sampled_from([0, 3]),
    top_p=st.sampled_from([0.5, 1.0]),
)
def test_a_mask_is_as_if_the_other_tokens_had_no_logits(seed, size, **params):
    rng = np.random.default_rng(seed)
    logits = (rng.standard_normal((1, size)) * 3).astype(np.float32)
    allowed = rng.random(size) < rng.choice([0.01, 0.3, 0.9])
    shared = {"max_tokens": 1, "seed": seed, "presence_penalty": 0.5, "repetition_penalty": 1.2}
    counts = PenaltyCounts(1)
    counts.add(int(rng.integers(size)))
    edits = Edits(counts=counts.values)
    row = SampleRow(SamplingParams(**shared, **params), 3, edits)
    sampler = Sampler(size, Team(1))
    (expected,) = sampler.sample(np.where(allowed, logits, np.float32(-np.inf)), [row])
    (token,) = sampler.sample(logits.copy(), [row._replace(mask=bits_of(allowed))])
    assert token == expected
    assert allowed[token] if allowed.any() else token == NO_TOKEN


def bits_of(allowed):
    """As llguidance packs them."""
    padded = np.zeros(-(-len(allowed) // 32) * 32, bool)
    padded[: len(allowed)] = allowed
    return np.packbits(padded, bitorder="little").view(np.uint32)


def test_each_row_has_its_own_mask_or_none():
    logits = np.tile(np.arange(40, dtype=np.float32), (5, 1))
    greedy = SampleRow(SamplingParams(max_tokens=1, seed=0, temperature=0), 0, None)
    masks = [None, bits_of(np.arange(40) < 33), None, bits_of(np.arange(40) == 0), None]
    rows = [greedy._replace(mask=mask) for mask in masks]
    assert Sampler(40, Team(2)).sample(logits, rows) == [39, 32, 39, 0, 39]
