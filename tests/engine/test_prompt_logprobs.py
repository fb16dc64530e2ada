"""The prompts that were scored last: what they know, and how many are kept."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from server.engine.prompt_logprobs import PromptLogprobs, PromptLogprobsCache
from server.sampling.log_softmax import LogprobRows


def prompt(ids, count=1):
    return PromptLogprobs(np.array(ids, np.int32), count)


def compute(scores, tokens=1000):
    """Go on, to values that depend on all ids up to their own."""
    places = range(scores.known, min(scores.known + tokens, len(scores.prompt)))
    rows = LogprobRows.empty(len(places), scores.count)
    for row, place in enumerate(places):
        rows.chosen[row] = hash(tuple(scores.prompt[: place + 1].tolist()))
        rows.top_ids[row] = rows.top[row] = place
    scores.add(rows)


small_ids = st.lists(st.integers(1, 2), min_size=1, max_size=8)


def shared(first, second):
    return next(
        (n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b),
        min(len(first), len(second)),
    )


@given(
    prompts=st.lists(st.tuples(small_ids, st.integers(0, 7)), max_size=8),
    to_the_end=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_a_prompt_knows_what_was_computed_for_those_that_begin_alike(prompts, to_the_end):
    cache, before = PromptLogprobsCache(), []
    for ids, tokens in prompts:
        scores = prompt(ids)
        cache.begin("a", scores, reads=True, writes=True)
        best = max((min(shared(ids, o.prompt.tolist()), o.known) for o in before), default=1)
        assert 1 <= scores.known <= max(1, best)
        if to_the_end:  # of those that ended early not all are looked at
            assert scores.known == max(1, best)
        compute(scores, 10 if to_the_end else tokens)
        before.append(scores)
        whole = prompt(ids)
        compute(whole)
        assert scores.as_list()[: scores.known] == whole.as_list()[: scores.known]


def test_of_what_is_kept_the_oldest_goes_and_what_is_too_large_is_not_kept():
    size = prompt([1, 2, 3, 4]).nbytes
    cache = PromptLogprobsCache(3 * size + 10)

    def known(*ids, writes=False, namespace="a", count=1):
        scores = prompt(ids, count)
        cache.begin(namespace, scores, reads=True, writes=writes)
        return scores.known

    for first in (5, 6, 7):
        scores = prompt([first, 2, 3, 4])
        cache.begin("a", scores, reads=True, writes=True)
        compute(scores)
    assert (known(5, 2, 3, 9), known(6, 2, 3, 4), known(7, 8)) == (3, 4, 1)
    assert known(5, 2, 3, 4) == 4  # which counts as a use
    known(8, 1, 1, 1, writes=True)
    assert (known(5, 2, 3, 4), known(6, 2, 3, 4), known(7, 2, 3, 4)) == (4, 4, 1)
    known(*range(2000), writes=True)
    assert (known(5, 2, 3, 4), known(6, 2, 3, 4)) == (4, 4)
    assert known(5, 2, 3, 4, namespace="b") == known(5, 2, 3, 4, count=2) == 1
    cache.clear()
    assert known(5, 2, 3, 4) == 1
