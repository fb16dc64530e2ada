"""Top-n-sigma beside its twin in float64, and its edits beside those of the sampler's kernel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.kernels.sampling import uniform
from server.kernels.team import Team
from server.sampling.edits import Edits
from server.sampling.params import NEVER
from server.sampling.sampler import Sampler, SampleRow
from server.sampling.sigma import keep_near
from tests import naive
from tests.kernels.test_sampling_filters import assert_drawn, params, values


@given(
    seed=st.integers(0, 2**32),
    size=st.integers(1, 700),
    sigmas=st.sampled_from([0.01, 0.5, 1.0, 2.5, 100.0]),
    banned=st.sets(st.integers(0, 40)),
    temperature=st.sampled_from([0.3, 1.0, 2.5]),
    top_p=st.sampled_from([0.4, 1.0]),
)
@settings(max_examples=300, deadline=None)
def test_what_is_near_is_drawn_as_the_twin(seed, size, sigmas, banned, temperature, top_p):
    logits = (np.random.default_rng(seed).standard_normal(size) * 3).astype(np.float32)
    logits[[each for each in banned if each < size]] = NEVER
    how = params(seed=seed, top_n_sigma=sigmas, temperature=temperature, top_p=top_p)
    (token,) = Sampler(size, Team(1)).sample(logits.reshape(1, -1).copy(), [SampleRow(how, 7)])
    if not np.isfinite(logits).any():
        assert token < 0
        return
    near = naive.near(logits, sigmas)
    with np.errstate(divide="ignore"):
        twin = naive.filtered(near, temperature, top_p=top_p)
    assert_drawn(twin, token, uniform(seed, 7))


EDITS = st.fixed_dictionaries(
    {
        "allowed": st.sets(st.integers(0, 69)).map(lambda x: dict.fromkeys(sorted(x), 0.0)),
        "biases": st.dictionaries(st.integers(0, 69), st.sampled_from([NEVER, -7.5, 2.0, 100.0])),
        "counts": st.dictionaries(st.integers(0, 69), st.sampled_from([0.5, 1.0, 4.0])),
        "repeats": st.dictionaries(st.integers(0, 69), st.sampled_from([-0.8, NEVER])),
    }
)


@given(seed=st.integers(0, 2**32), edits=EDITS, masked=st.booleans(), top_k=st.integers(0, 9))
@settings(max_examples=200, deadline=None)
def test_so_many_sigmas_that_all_are_kept_change_no_draw(seed, edits, masked, top_k):
    """So the edits are, to the bit, those that the kernel makes."""
    rng = np.random.default_rng(seed)
    logits = (rng.standard_normal((1, 70)) * 3).astype(np.float32)
    how = {"presence_penalty": 0.4, "frequency_penalty": -0.7, "repetition_penalty": 1.3}
    how |= {"seed": seed, "top_k": top_k}
    mask = rng.integers(0, 2**32, 3, dtype=np.uint32) if masked else None
    row = Edits(**{name: values(each) for name, each in edits.items()})
    sampler = Sampler(70, Team(1))
    tokens = []
    for sigmas in (0.0, 1e9):
        for position in range(9):
            each = SampleRow(params(**how, top_n_sigma=sigmas), position, row, mask=mask)
            tokens += sampler.sample(logits.copy(), [each])
    assert tokens[:9] == tokens[9:]


def test_a_row_is_cut_alike_alone_and_among_others_on_any_team():
    logits = np.random.default_rng(3).standard_normal((12, 1000)).astype(np.float32) * 4
    rows = [SampleRow(params(seed=i, top_n_sigma=(i % 3) * 0.6), i) for i in range(12)]
    alone = [Sampler(1000, Team(1)).sample(logits[[i]], [rows[i]])[0] for i in range(12)]
    for threads in (1, 4):
        assert Sampler(1000, Team(threads)).sample(logits.copy(), rows) == alone


@pytest.mark.parametrize("row", [[NEVER, NEVER], [np.nan, np.nan], [1.0, 1.0], [NEVER, 2.0]])
def test_rows_without_a_spread_keep_what_they_have(row):
    logits = np.array(row, np.float32)
    keep_near(logits, 0.5)
    np.testing.assert_array_equal(logits, np.array(row, np.float32))
