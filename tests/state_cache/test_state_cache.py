"""The state cache by example: where sequences part, what callers may do, sizes and times."""

import time

import numpy as np
import pytest

from server.state_cache.radix_tree import path_bytes
from server.state_cache.snapshot import Snapshot
from server.state_cache.state_cache import JUNCTION_TOKENS, StateCache
from tests.engine.snapshots import keep, look, small_cache, take, text


@pytest.fixture
def cache():
    return StateCache(1 << 30)


DOCUMENT, SYSTEM = text(1, 1000), text(2, 200)


def test_a_second_question_about_a_document_stops_where_it_parts_and_a_third_resumes(cache):
    keep(cache, DOCUMENT + text(3, 40))
    assert look(cache, DOCUMENT + text(4, 50)) == (0, 1000)
    keep(cache, DOCUMENT, logits=False)
    keep(cache, DOCUMENT + text(4, 50))
    assert look(cache, DOCUMENT + text(5, 60)) == (1000, 0)


def test_a_conversation_goes_on_from_its_last_reply_and_parts_where_it_is_edited(cache):
    ids = text(6, 500)
    for end in (100, 180, 300, 400):  # prompt, reply, prompt, reply
        keep(cache, ids[:end])
    assert look(cache, ids) == (400, 0)
    assert look(cache, ids[:250] + text(7, 100)) == (180, 250)
    assert look(cache, ids[:190] + text(7, 100)) == (180, 0)


def test_regenerating_costs_nothing_with_logits_and_goes_back_without(cache):
    ids = text(8, 300)
    keep(cache, ids[:100])
    keep(cache, ids, logits=False)
    assert look(cache, ids) == (100, 0)
    assert look(cache, [*ids, 7]) == (300, 0)
    keep(cache, ids)
    assert look(cache, ids) == (300, 0)
    keep(cache, ids, logits=False)
    assert cache.match("tenant", ids).snapshot.logits is not None
    counters = cache.counters
    assert (counters.exact_hits, counters.prefix_hits, counters.unknown) == (2, 2, 0)
    assert counters.tokens_saved == 100 + 300 + 300 + 300
    assert (counters.inserts, counters.replaced, counters.entries) == (2, 1, 2)


def test_two_users_share_a_system_prompt_but_two_tenants_do_not(cache):
    keep(cache, SYSTEM + text(9, 40))
    assert look(cache, SYSTEM + text(10, 40), "other") == (0, 0)
    assert look(cache, SYSTEM + text(10, 40)) == (0, 200)
    keep(cache, SYSTEM)
    assert look(cache, SYSTEM + text(11, 40)) == (200, 0)
    assert look(cache, SYSTEM + text(11, 40), "other") == (0, 0)


def test_a_fork_without_a_snapshot_is_a_junction(cache):
    for seed in (12, 13):
        keep(cache, SYSTEM + text(seed, 40))
    assert look(cache, SYSTEM + text(14, 40)) == (0, 200)
    assert look(cache, SYSTEM) == (0, 200)


def test_ids_that_end_inside_an_edge_end_at_a_junction(cache):
    keep(cache, DOCUMENT)
    assert look(cache, DOCUMENT[:300]) == (0, 300)


def test_a_junction_must_be_worth_a_stop(cache):
    ids = text(15, 200)
    keep(cache, ids[:50])
    keep(cache, ids)
    other = text(16, 50)
    assert look(cache, ids[: 50 + JUNCTION_TOKENS - 1] + other) == (50, 0)
    assert look(cache, ids[: 50 + JUNCTION_TOKENS] + other) == (50, 50 + JUNCTION_TOKENS)


def test_a_match_may_be_asked_to_leave_tokens_to_compute(cache):
    ids = text(17, 300)
    for end in (100, 200, 300):
        keep(cache, ids[:end])
    assert cache.match("tenant", ids, at_most=299).tokens == 200
    assert cache.match("tenant", ids, at_most=200).tokens == 200
    assert cache.match("tenant", ids, at_most=99).snapshot is None


def test_clear_leaves_other_namespaces_alone(cache):
    for namespace in ("one", "other"):
        keep(cache, SYSTEM, namespace)
        cache.pin(keep(cache, DOCUMENT, namespace))
    cache.clear("one")
    assert look(cache, SYSTEM, "one") == (0, 0)
    assert look(cache, SYSTEM, "other") == (200, 0)
    cache.clear()
    counters = cache.counters
    assert (counters.entries, counters.nbytes, counters.pinned_bytes) == (0, 0, 0)
    assert counters.cleared == 4


def test_an_operator_sees_age_and_idleness():
    cache, clock = small_cache(3)
    keep(cache, SYSTEM)
    clock.now = 5.0
    cache.match("tenant", SYSTEM)
    clock.now = 7.0
    (info,) = cache.entries()
    assert (info.namespace, info.kind, info.tokens) == ("tenant", "prompt", 200)
    assert (info.age_seconds, info.idle_seconds, info.hits, info.pinned) == (7.0, 2.0, 1, False)


def test_snapshots_are_read_only_and_never_views():
    snapshot = take(3, nbytes=64)
    assert snapshot.nbytes == 64 + 16
    for array in (*snapshot.state.values(), snapshot.logits):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    slots = np.zeros((2, 16), np.float32)
    with pytest.raises(ValueError, match="wkv is a view, not a copy"):
        Snapshot(3, {"wkv": slots[0]})
    with pytest.raises(ValueError, match="logits is a view, not a copy"):
        Snapshot(3, {}, slots[0])


def test_what_no_caller_may_do(cache):
    keep(cache, SYSTEM)
    with pytest.raises(ValueError, match="snapshot of 3 tokens inserted after 2 ids"):
        cache.insert("tenant", [1, 2], take(3))
    with pytest.raises(ValueError, match="snapshot of 0 tokens"):
        cache.insert("tenant", [], take(0))
    assert look(cache, []) == (0, 0)
    cache.check_integrity()
    assert cache.counters.entries == 1


def test_long_paths_are_small_and_matched_as_one_piece_of_memory(cache):
    ids = np.array(text(46, 100_000), np.int32)
    keep(cache, ids)
    assert cache.counters.nbytes == path_bytes(100_000) + 16
    assert path_bytes(100_000) < 410_000
    started = time.process_time()
    for _ in range(200):
        assert cache.match("tenant", ids).tokens == 100_000
        ids[99_999] += 1
        assert cache.match("tenant", ids).junction == 99_999
        ids[99_999] -= 1
    # About 20 ms; a loop over tokens takes a second and more.
    assert time.process_time() - started < 0.8


def test_ten_thousand_entries(capsys):
    cache = StateCache(1 << 40)
    rng = np.random.default_rng(47)
    paths = [
        np.concatenate((SYSTEM, rng.integers(0, 65_536, rng.integers(20, 200))))
        for _ in range(11_000)
    ]
    for path in paths[:10_000]:
        keep(cache, path, nbytes=2048)
    cache.limit_bytes = cache.counters.nbytes
    for path in paths[:10_000:2]:
        cache.match("tenant", path)
    snapshots = [take(len(path), nbytes=2048) for path in paths[10_000:]]
    started = time.process_time()
    for path, snapshot in zip(paths[10_000:], snapshots, strict=True):
        cache.insert("tenant", path, snapshot)
    seconds = time.process_time() - started
    with capsys.disabled():
        print(f" {1000 * seconds / len(snapshots):.3f} ms for an insert that evicts", end=" ")
    keep(cache, SYSTEM, nbytes=2048)  # above all
    cache.check_integrity()
    assert cache.counters.evicted >= 900
    assert look(cache, paths[-1]) == (len(paths[-1]), 0)
