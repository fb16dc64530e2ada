"""The choice of a worker, by prefix and by load."""

import pytest

from server.pool import router as module
from server.pool.router import BLOCK_TOKENS, MOST_AHEAD, Router, prefix_digests
from server.protocol.cache_use import CacheUse
from server.protocol.task import Task
from server.sampling.params import SamplingParams

PARAMS = SamplingParams(max_tokens=5, seed=1)
DOCUMENT = list(range(1000))
IDLE = {"a": 0, "b": 0, "c": 0}


def task(ids, **fields):
    return Task(ids, PARAMS, **fields)


def test_without_a_known_prefix_the_least_loaded_gets_it():
    router = Router()
    assert router.choose(task([1]), {"a": 2, "b": 1, "c": 1}) == "b"
    assert router.choose(task(DOCUMENT), {"a": 2, "b": 1, "c": 0}) == "c"


def test_the_longest_prefix_wins():
    router = Router()
    assert router.choose(task(DOCUMENT[:200]), {"a": 1, "b": 0}) == "b"
    other = DOCUMENT[:200] + [0] * 300
    assert router.choose(task(other), {"a": 0, "b": 9}) == "a"
    assert router.choose(task(DOCUMENT[:190] + [7] * 90), {"a": 1, "b": 1}) == "a"
    assert router.choose(task([*other, 5]), {"a": 1, "b": 0}) == "a"
    assert router.choose(task(DOCUMENT[:70]), {"a": 1, "b": 0}) == "b"  # both know it


def test_a_worker_that_holds_too_many_more_is_passed_over():
    router = Router()
    assert router.choose(task(DOCUMENT), IDLE) == "a"
    assert router.choose(task(DOCUMENT), {"a": MOST_AHEAD, "b": 0, "c": 1}) == "a"
    assert router.choose(task(DOCUMENT), {"a": MOST_AHEAD + 1, "b": 1, "c": 0}) == "c"
    assert router.choose(task(DOCUMENT), {"a": 9, "b": 0, "c": 1}) == "c"  # it knows it by now


def test_all_requests_on_one_document_stay_within_the_bound():
    router = Router()
    loads = dict(IDLE)
    for question in range(60):
        loads[router.choose(task([*DOCUMENT, question]), loads)] += 1
        assert max(loads.values()) - min(loads.values()) <= MOST_AHEAD + 1


def test_a_worker_that_is_gone_is_forgotten():
    router = Router()
    router.choose(task(DOCUMENT), IDLE)
    router.forget("a")
    router.forget("nobody")
    assert router.choose(task(DOCUMENT), {"a": 1, "b": 0}) == "b"


@pytest.mark.parametrize(
    "fields", [{"initial_state": "poet"}, {"use": CacheUse(salt="s")}, {"base": b"state"}]
)
def test_states_that_cannot_be_shared_do_not_count(fields):
    router = Router()
    router.choose(task(DOCUMENT), IDLE)
    assert router.choose(task(DOCUMENT, **fields), {"a": 1, "b": 0}) == "b"
    assert router.choose(task(DOCUMENT, **fields), {"a": 0, "b": 1}) == "b"


def test_digests_are_of_all_that_comes_before():
    digests = prefix_digests(task(DOCUMENT))
    assert len(digests) == len(DOCUMENT) // BLOCK_TOKENS
    assert prefix_digests(task(DOCUMENT[:200])) == digests[:3]
    assert not set(prefix_digests(task([9, *DOCUMENT[1:]]))) & set(digests)


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "MOST_PREFIXES", 8)
    router = Router()
    first, second = [1] * 256, [2] * 256
    for ids in (first, second, first, [3] * 256):  # the second one is the oldest
        assert router.choose(task(ids), {"a": 0}) == "a"
    loads = {"b": 0, "a": 1}
    assert router.choose(task(first), loads) == "a"
    assert router.choose(task(second), loads) == "b"


def test_the_same_key_leads_to_the_same_worker_unless_that_has_much_more_to_do():
    router, names = Router(), ["a", "b", "c", "d"]
    keys = [f"key {number}" for number in range(40)]

    def choose(key, loads):
        return router.choose(Task([1], PARAMS), loads, key)

    idle = dict.fromkeys(names, 0)
    chosen = {key: choose(key, idle) for key in keys}
    assert set(chosen.values()) == set(names)
    uneven = idle | {"a": MOST_AHEAD}
    assert {key: choose(key, uneven) for key in keys} == chosen
    without = {name: 0 for name in names if name != "c"}
    moved = {key: choose(key, without) for key in keys}
    assert all(moved[key] == chosen[key] for key in keys if chosen[key] != "c")
    own = chosen["key 0"]
    assert choose("key 0", idle | {own: MOST_AHEAD + 1}) != own


def test_a_task_that_leaves_nothing_is_not_remembered_and_one_that_reads_nothing_goes_anywhere():
    router = Router()
    reader = task(DOCUMENT, use=CacheUse(writes=False))
    assert router.choose(reader, {"a": 0, "b": 1}) == "a"
    assert (
        router.choose(task(DOCUMENT), {"a": 1, "b": 0}) == "b"
    )  # which gets it for the first time
    assert router.choose(reader, {"a": 0, "b": 1}) == "b"
    neither = task(DOCUMENT, use=CacheUse(reads=False, writes=False))
    assert router.choose(neither, {"a": 0, "b": 1}) == "a"
