"""The state cache by example: where sequences part, what is worth least, sizes and times."""

import gc
import time
import tracemalloc
import weakref

import numpy as np
import pytest

from server.engine.eviction import EvictionQueue
from server.engine.radix_tree import NODE_BYTES, path_bytes
from server.engine.snapshot import Snapshot
from server.engine.state_cache import JUNCTION_TOKENS, StateCache

STATE = 1 << 20  # bytes of a state, so that paths hardly count
HALF_LIFE = 100.0


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def take(tokens, nbytes=0, logits=True):
    return Snapshot(
        tokens,
        {"wkv": np.zeros(nbytes // 4, np.float32)},
        np.zeros(4, np.float32) if logits else None,
    )


def text(seed, length):
    return np.random.default_rng(seed).integers(0, 65_536, length).tolist()


def keep(cache, ids, namespace="tenant", **how):
    return cache.insert(namespace, ids, take(len(ids), **how))


def look(cache, ids, namespace="tenant"):
    match = cache.match(namespace, ids)
    return match.tokens, match.junction


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
    assert (counters.exact_hits, counters.prefix_hits, counters.misses) == (2, 2, 0)
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


def test_a_reply_that_was_encoded_again_leads_to_the_same_snapshot(cache):
    prompt, reply, again = text(18, 100), text(19, 50), text(20, 47)
    snapshot = take(150, nbytes=STATE)
    handle = cache.insert("tenant", prompt + reply, snapshot, kind="reply")
    before = cache.counters.nbytes
    assert cache.alias("tenant", prompt + again, snapshot) == handle
    assert cache.counters.nbytes == before + 4 * 47 + 2 * NODE_BYTES
    match = cache.match("tenant", prompt + again + text(21, 30))
    assert match.snapshot is snapshot
    assert (match.tokens, match.snapshot.tokens) == (147, 150)
    (info,) = cache.entries()
    assert (info.kind, info.tokens, info.aliases, info.hits) == ("reply", 150, 1, 1)
    assert cache.remove(handle)
    assert look(cache, prompt + again) == (0, 0)
    assert cache.counters.nbytes == 0


def small_cache(entries):
    clock = Clock()
    return StateCache(entries * STATE + STATE // 2, clock, HALF_LIFE), clock


def left(cache):
    return [info.handle for info in cache.entries()]


def test_what_saves_least_goes_first():
    cache, _ = small_cache(3)
    long, short, middle = (keep(cache, text(n, n), nbytes=STATE) for n in (400, 50, 200))
    new = keep(cache, text(22, 10), nbytes=STATE)
    assert left(cache) == [long, middle, new]
    newer = keep(cache, text(23, 20), nbytes=STATE)
    assert left(cache) == [long, middle, newer]
    assert short not in left(cache)


def test_worth_halves_with_idle_time_and_a_hit_renews_it():
    cache, clock = small_cache(3)
    paths = [text(24, 390), text(25, 100), text(26, 410)]
    first, second, third = (keep(cache, path, nbytes=STATE) for path in paths)
    clock.now = 2 * HALF_LIFE
    cache.match("tenant", paths[1])  # 100 tokens now, as much as 400 two half-lives ago
    assert first in left(cache)
    new = keep(cache, text(27, 1000), nbytes=STATE)
    assert left(cache) == [second, third, new]
    newer = keep(cache, text(28, 1000), nbytes=STATE)
    assert left(cache) == [third, new, newer]


def test_tokens_count_beyond_the_nearest_snapshot_above():
    cache, _ = small_cache(3)
    ids = text(29, 1000)
    deep = keep(cache, ids, nbytes=STATE)
    other = keep(cache, text(30, 300), nbytes=STATE)
    above = keep(cache, ids[:900], nbytes=STATE)  # leaves 100 to the one below
    new = keep(cache, text(31, 2000), nbytes=STATE)
    assert deep not in left(cache)
    deep = keep(cache, ids, nbytes=STATE)
    assert left(cache) == [above, new, deep]
    assert other not in left(cache)
    cache.remove(above)  # and so the one below saves 1000 again
    keep(cache, text(32, 500), nbytes=STATE)
    newest = keep(cache, text(33, 600), nbytes=STATE)
    assert left(cache) == [new, deep, newest]


def test_of_two_that_save_as_much_the_larger_goes():
    cache, _ = small_cache(3)
    large = keep(cache, text(34, 100), nbytes=STATE * 3 // 2)
    small = keep(cache, text(35, 100), nbytes=STATE)
    keep(cache, text(36, 100), nbytes=STATE)
    assert large not in left(cache)
    assert small in left(cache)


def test_the_pinned_stay_and_what_does_not_fit_beside_them_is_refused():
    cache, _ = small_cache(3)
    pinned = [keep(cache, text(n, 10), nbytes=STATE) for n in (37, 38)]
    assert all(cache.pin(handle) for handle in pinned)
    last = keep(cache, text(39, 500), nbytes=STATE)
    assert keep(cache, text(40, 900), nbytes=2 * STATE) is None
    assert left(cache) == [*pinned, last]  # nothing made room in vain
    cache.pin(last)
    assert keep(cache, text(41, 900), nbytes=STATE) is None
    assert cache.counters.refused == 2
    cache.unpin(pinned[0])
    new = keep(cache, text(41, 900), nbytes=STATE)
    assert left(cache) == [pinned[1], last, new]


def test_a_pinned_snapshot_gets_logits_and_aliases_in_what_room_there_is():
    snapshot = take(50, nbytes=4000, logits=False)
    cache = StateCache(4000 + 16 + 2 * path_bytes(50))
    handle = cache.insert("tenant", text(48, 50), snapshot)
    cache.pin(handle)
    assert keep(cache, text(48, 50), nbytes=4000) == handle
    match = cache.match("tenant", text(48, 50))
    assert match.snapshot.logits is not None
    assert cache.alias("tenant", text(49, 50), match.snapshot) == handle
    assert cache.alias("tenant", text(50, 1), match.snapshot) is None
    cache.check_integrity()


def test_logits_and_aliases_are_refused_where_the_paths_of_what_is_pinned_leave_no_room():
    cache = StateCache(1 << 20)
    cache.pin(keep(cache, text(51, 5000), nbytes=4000, logits=False))
    snapshot = take(50, nbytes=4000, logits=False)
    handle = cache.insert("tenant", text(52, 50), snapshot)
    cache.pin(handle)
    cache.limit_bytes = cache.counters.nbytes
    assert keep(cache, text(52, 50), nbytes=4000) == handle
    assert cache.match("tenant", [*text(52, 50), 1]).snapshot is snapshot
    assert cache.alias("tenant", text(53, 50), snapshot) is None
    assert look(cache, text(53, 50)) == (0, 0)
    assert cache.counters.refused == 2
    cache.check_integrity()


def test_who_loses_an_alias_is_worth_less():
    cache, _ = small_cache(3)
    snapshot = take(50, nbytes=STATE, logits=False)
    loser = cache.insert("tenant", text(54, 50), snapshot)
    cache.alias("tenant", text(55, 500), snapshot)
    other = keep(cache, text(56, 200), nbytes=STATE)
    exact = keep(cache, text(55, 500), nbytes=STATE)
    assert left(cache) == [loser, other, exact]
    new = keep(cache, text(57, 10), nbytes=STATE)
    assert left(cache) == [other, exact, new]


def test_what_is_evicted_is_freed_at_once():
    cache, _ = small_cache(1)
    snapshot = take(50, nbytes=STATE)
    cache.insert("tenant", text(42, 50), snapshot)
    cache.alias("tenant", text(43, 60), snapshot)
    freed = weakref.ref(snapshot)
    del snapshot
    gc.disable()
    try:
        keep(cache, text(44, 10), nbytes=STATE)
        assert freed() is None
    finally:
        gc.enable()


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
    snapshot = take(200)
    cache.insert("tenant", SYSTEM, snapshot)
    with pytest.raises(ValueError, match="snapshot of 3 tokens inserted after 2 ids"):
        cache.insert("tenant", [1, 2], take(3))
    with pytest.raises(ValueError, match="snapshot of 0 tokens"):
        cache.insert("tenant", [], take(0))
    with pytest.raises(ValueError, match="by another path"):
        cache.insert("tenant", text(45, 200), snapshot)
    with pytest.raises(ValueError, match="another namespace"):
        cache.alias("other", SYSTEM, snapshot)
    with pytest.raises(ValueError, match="no ids"):
        cache.alias("tenant", [], snapshot)
    assert look(cache, []) == (0, 0)
    cache.check_integrity()
    assert cache.counters.entries == 1


def test_long_paths_are_small_and_matched_as_one_piece_of_memory(cache):
    ids = np.array(text(46, 100_000), np.int32)
    keep(cache, ids)
    assert cache.counters.nbytes == path_bytes(100_000) + 16
    assert path_bytes(100_000) < 410_000
    started = time.perf_counter()
    for _ in range(200):
        assert cache.match("tenant", ids).tokens == 100_000
        ids[99_999] += 1
        assert cache.match("tenant", ids).junction == 99_999
        ids[99_999] -= 1
    # About 20 ms; a loop over tokens takes a second and more.
    assert time.perf_counter() - started < 0.8


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
    started = time.perf_counter()
    for path, snapshot in zip(paths[10_000:], snapshots, strict=True):
        cache.insert("tenant", path, snapshot)
    seconds = time.perf_counter() - started
    with capsys.disabled():
        print(f" {1000 * seconds / len(snapshots):.3f} ms for an insert that evicts", end=" ")
    keep(cache, SYSTEM, nbytes=2048)  # above all
    cache.check_integrity()
    assert cache.counters.evicted >= 900
    assert look(cache, paths[-1]) == (len(paths[-1]), 0)


def test_an_eviction_looks_at_few_entries_however_many_were_hit():
    worth = dict.fromkeys(range(10_000), 0.0)
    asked = []

    def look_up(handle):
        asked.append(handle)
        return worth[handle]

    queue = EvictionQueue(look_up)
    for handle in worth:
        queue.add(handle)
    worth.update({handle: 1.0 + handle for handle in worth})
    asked.clear()
    assert queue.pop() == 0  # the least of those that it looked at
    assert len(asked) < 100
    worth[5000] = -1.0
    queue.fell(5000)
    assert queue.pop() == 5000
    queue.check_integrity()


def test_the_queue_stays_small_and_in_order_however_often_entries_come_and_go():
    queue = EvictionQueue(float)
    for handle in (30, 10, 20):
        queue.add(handle)
    tracemalloc.start()
    try:
        for _ in range(5000):
            queue.add(15)
            queue.discard(15)
        assert tracemalloc.get_traced_memory()[1] < 50_000  # bytes
    finally:
        tracemalloc.stop()
    assert [queue.pop() for _ in range(4)] == [10, 20, 30, None]
