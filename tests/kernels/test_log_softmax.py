"""Log-probabilities and the most likely tokens of rows of logits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.kernels.log_softmax import FLOOR
from server.kernels.team import Team
from server.sampling.log_softmax import LogprobRows, LogSoftmax
from tests import naive


def rows_of(logits, tokens, count, team=None):
    """The result for logits [R, V], which lie in wider rows as the model's do."""
    padded = np.full((len(logits), logits.shape[1] + 16), 1e30, np.float32)
    padded[:, : logits.shape[1]] = logits
    out = LogprobRows.empty(len(logits), count)
    softmax = LogSoftmax(logits.shape[1], team or Team(1))
    softmax.compute(padded, np.array(tokens, np.int64), out)
    return out


@given(
    seed=st.integers(0, 2**32),
    size=st.integers(1, 300),
    count=st.integers(0, 20),
    spread=st.sampled_from([0.01, 3.0, 60.0]),
    ties=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_they_are_the_twins_and_of_equals_the_lowest_id_comes_first(
    seed, size, count, spread, ties
):
    rng = np.random.default_rng(seed)
    logits = (rng.standard_normal((1, size)) * spread).astype(np.float32)
    if ties:
        logits = np.round(logits)
    token = int(rng.integers(size))
    rows = rows_of(logits, [token], count)
    expected = np.maximum(naive.log_softmax(logits[0]), FLOOR)
    order = np.argsort(-logits[0], kind="stable")[:count]
    found = rows.take(0, count)
    assert found.top_ids == order.tolist()
    assert found.logprob == pytest.approx(expected[token], abs=2e-7)
    np.testing.assert_allclose(found.top_logprobs, expected[order], rtol=0, atol=2e-7)
    if token in found.top_ids:
        assert found.top_logprobs[found.top_ids.index(token)] == found.logprob


def test_a_row_gives_the_same_bits_among_any_others_and_with_any_number_of_threads():
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((9, 1000)).astype(np.float32)
    tokens = rng.integers(0, 1000, 9)
    together = [rows_of(logits, tokens, 5, Team(threads)) for threads in (1, 2, 3)]
    for row in range(9):
        alone = rows_of(logits[row : row + 1], tokens[row : row + 1], 5).take(0, 5)
        assert all(rows.take(row, 5) == alone for rows in together)


def test_what_is_not_finite_has_no_weight_and_the_floor():
    logits = np.array([[1.0, np.nan, np.inf, -np.inf, 1.0, -1e9]], np.float32)
    found = [rows_of(logits, [token], 4).take(0, 4) for token in range(6)]
    half = pytest.approx(np.log(0.5), abs=1e-7)
    assert [each.logprob for each in found] == [half, FLOOR, FLOOR, FLOOR, half, FLOOR]
    assert found[0].top_ids == [0, 4, 5]
    assert found[0].top_logprobs == [half, half, FLOOR]
    nothing = rows_of(np.full((1, 20), np.nan, np.float32), [3], 2).take(0, 2)
    assert (nothing.logprob, nothing.top_ids) == (FLOOR, [])
