"""Which snapshots make room, by example."""

import gc
import tracemalloc
import weakref

from server.state_cache.eviction import EvictionQueue
from server.state_cache.radix_tree import path_bytes
from server.state_cache.state_cache import StateCache
from tests.engine.snapshots import HALF_LIFE, STATE, keep, small_cache, take, text


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


def test_a_pinned_snapshot_gets_logits_in_what_room_there_is():
    snapshot = take(50, nbytes=4000, logits=False)
    cache = StateCache(4000 + 16 + path_bytes(50))
    handle = cache.insert("tenant", text(48, 50), snapshot)
    cache.pin(handle)
    assert keep(cache, text(48, 50), nbytes=4000) == handle
    assert cache.match("tenant", text(48, 50)).snapshot.logits is not None
    cache.check_integrity()


def test_logits_are_refused_where_the_paths_of_what_is_pinned_leave_no_room():
    cache = StateCache(1 << 20)
    cache.pin(keep(cache, text(51, 5000), nbytes=4000, logits=False))
    snapshot = take(50, nbytes=4000, logits=False)
    handle = cache.insert("tenant", text(52, 50), snapshot)
    cache.pin(handle)
    cache.limit_bytes = cache.counters.nbytes
    assert keep(cache, text(52, 50), nbytes=4000) == handle
    assert cache.match("tenant", [*text(52, 50), 1]).snapshot is snapshot
    assert cache.counters.refused == 1
    cache.check_integrity()


def test_what_is_evicted_is_freed_at_once():
    cache, _ = small_cache(1)
    snapshot = take(50, nbytes=STATE)
    cache.insert("tenant", text(42, 50), snapshot)
    freed = weakref.ref(snapshot)
    del snapshot
    gc.disable()
    try:
        keep(cache, text(44, 10), nbytes=STATE)
        assert freed() is None
    finally:
        gc.enable()


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
