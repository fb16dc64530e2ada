"""Counts of generated tokens, of all or of the last ones, beside their twin in float64."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.sampling.penalties import PenaltyCounts


def naive_counts(tokens, decay, last):
    """Token → the sum of what is left of each time it came, among the last so many."""
    found = {}
    recent = tokens if last < 0 else tokens[max(0, len(tokens) - last) :]
    for age, token in enumerate(reversed(recent)):
        found[token] = found.get(token, 0.0) + decay**age
    return found


@given(
    tokens=st.lists(st.integers(0, 100), max_size=300) | st.lists(st.integers(0, 2), max_size=60),
    decay=st.sampled_from([0.0, 0.5, 0.996, 1.0]),
    last=st.integers(-1, 90),
)
def test_counts_are_the_twins_at_every_token(tokens, decay, last):
    counts = PenaltyCounts(decay, last)
    for size, token in enumerate(tokens, 1):
        counts.add(token)
        if size % 7 == 0 or size == len(tokens):
            expected = naive_counts(tokens[:size], decay, last)
            found = dict(zip(*(each.tolist() for each in counts.values), strict=True))
            assert found == pytest.approx(expected, abs=1e-4)


def test_what_counts_no_more_is_as_if_it_had_never_come():
    counts = PenaltyCounts(1.0, 3)
    for token in (7, 7, 8, 9, 9, 9):
        counts.add(token)
    assert [each.tolist() for each in counts.values] == [[9], [3.0]]
