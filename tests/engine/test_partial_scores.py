"""Log-probabilities of a prompt's end: the same floats, and its beginning may be cached."""

import numpy as np
import pytest

from server.engine.prompt_logprobs import PromptLogprobs
from server.protocol.cache_use import CacheUse
from server.protocol.task import Task
from server.state_cache.state_cache import StateCache
from tests.engine.test_engine import build, params
from tests.engine.test_logprobs import CONTEXT, computed, run, scored

ROOM = 64 << 20
DOCUMENT = CONTEXT[:90]
QUERIES = [[7, 8, 9], [7, 8, 10, 11], [200], [3] * 40]


def query_scored(document, query, **use):
    """As /v1/rerank asks."""
    start = len(document)
    how = params(max_tokens=0, logprobs=0, prompt_logprobs=0, prompt_logprobs_from=start)
    return Task(document + query, how, use=CacheUse(boundaries={start - 1: "message"}, **use))


TASKS = {f"query {n}": query_scored(DOCUMENT, query) for n, query in enumerate(QUERIES)}
TASKS["one token before"] = query_scored([5], [6, 7])
TASKS["whole"] = scored(DOCUMENT + QUERIES[0], max_tokens=0, k=0)
TASKS["answered"] = Task([*DOCUMENT, 1, 2], params(max_tokens=2))


@pytest.fixture(scope="module")
def expected(checkpoint):
    return {name: run(build(checkpoint)[0], {name: task})[name] for name, task in TASKS.items()}


def test_they_are_those_of_the_whole_prompt(checkpoint, expected):
    for name, task in TASKS.items():
        if task.params.prompt_logprobs_from:
            whole = scored(task.prompt_ids, max_tokens=0, k=0)
            (of_whole,) = run(build(checkpoint)[0], {name: whole}).values()
            assert expected[name][2] == of_whole[2][task.params.prompt_logprobs_from :]


@pytest.mark.parametrize(("step_tokens", "max_batch"), [(1, 1), (7, 4), (32, 16)])
@pytest.mark.parametrize("room", [0, ROOM])
def test_the_bits_are_the_same_batched_chunked_and_from_the_cache(
    checkpoint, expected, step_tokens, max_batch, room
):
    for tasks in (TASKS, dict(reversed(TASKS.items()))):
        cache = StateCache(room) if room else None
        engine, _ = build(checkpoint, 1, step_tokens, max_batch, cache)
        assert run(engine, tasks) == expected
        assert run(engine, tasks) == expected


@pytest.mark.parametrize("implicit", [True, False])
def test_a_document_is_read_once_however_many_queries_follow_it(checkpoint, implicit):
    engine, _ = build(checkpoint, 1, 32, 16, StateCache(ROOM))
    tasks = [query_scored(DOCUMENT, query, implicit=implicit) for query in QUERIES]
    together = dict(zip("abcd", tasks, strict=True))
    _, first = computed(engine, together)
    asked = sum(map(len, QUERIES))
    assert first == len(DOCUMENT) - 1 + asked + len(QUERIES)
    for query in QUERIES:
        again = query_scored(DOCUMENT, [9, *query], implicit=implicit)
        assert computed(engine, {"x": again})[1] == 2 + len(query)


def test_a_state_that_an_answer_has_left_is_taken(checkpoint, expected):
    engine, _ = build(checkpoint, 1, 32, 4, StateCache(ROOM))
    run(engine, {"x": Task(DOCUMENT[:50], params(max_tokens=1))})
    found, tokens = computed(engine, {"query 0": TASKS["query 0"]})
    assert found["query 0"] == expected["query 0"]
    assert tokens == len(TASKS["query 0"].prompt_ids) - 50


def test_one_that_only_reads_the_same_prompt_leaves_the_state_that_is_needed(checkpoint):
    engine, _ = build(checkpoint, 1, 32, 4, StateCache(ROOM))
    plain = Task(DOCUMENT + QUERIES[0], params(max_tokens=0))
    _, tokens = computed(engine, {"plain": plain, "scored": TASKS["query 0"]})
    assert tokens == len(plain.prompt_ids) + 1 + len(QUERIES[0])


def test_only_what_is_asked_for_takes_memory():
    prompt = np.zeros(100_000, np.int32)
    whole, part = PromptLogprobs(prompt, 4), PromptLogprobs(prompt, 4, 99_990)
    assert whole.nbytes - part.nbytes == 99_989 * 9 * 8
    assert len(part.as_list()) == 10
