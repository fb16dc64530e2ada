"""The tiers as the engine sees them: the deepest snapshot, verified, whatever a store does."""

import random
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from server.state_cache.disk_store import DiskStore
from server.state_cache.store import StoreUnavailable
from server.state_cache.tiers import SnapshotTiers
from tests.state_cache.stored import ids, key_of, snapshot
from tests.state_cache.tiering import (
    CODEC,
    IDS,
    FailingStore,
    depth,
    fetch,
    of,
    put,
    tiers_over,
    write_to,
)


def test_the_deepest_prefix_is_found(store):
    with tiers_over(store) as tiers:
        for tokens in (10, 200, 400):
            put(tiers, tokens)
        put(tiers, 500, namespace="other")
        assert tiers.flush(10)
        assert depth(fetch(tiers)) == 400
        assert fetch(tiers).tier == store.name
        assert depth(fetch(tiers, tokens=399)) == 200
        assert depth(fetch(tiers, beyond=399)) == 400
        assert depth(fetch(tiers, beyond=400)) == 0
        assert depth(fetch(tiers, namespace="other")) == 500
        assert depth(fetch(tiers, token_ids=ids(600, seed=2))) == 0
        counted = of(tiers, store.name)
        assert (counted.reads, counted.hits, counted.absent) == (7, 5, 2)
        assert counted.tokens_saved == 400 + 400 + 200 + 1 + 500
        assert counted.writes == 4


def test_a_snapshot_of_all_ids_is_of_use_only_with_logits(disk):
    with tiers_over(disk) as tiers:
        put(tiers, 100)
        put(tiers, 300)
        assert tiers.flush(10)
        assert depth(fetch(tiers, tokens=300)) == 100
        put(tiers, 300, logits=True)
        put(tiers, 300)
        assert tiers.flush(10)
        assert depth(fetch(tiers, tokens=300)) == 300
        assert of(tiers).writes == 3


def test_the_deeper_tier_wins_and_the_disk_among_equals(disk, shared):
    with tiers_over(disk, shared) as tiers:
        write_to(disk, 100)
        write_to(shared, 100)
        assert fetch(tiers).tier == "disk"
        write_to(shared, 200)
        assert (fetch(tiers).tier, depth(fetch(tiers))) == ("shared", 200)
        put(tiers, 300)
        assert tiers.flush(10)
    for store in (disk, shared):
        with tiers_over(store) as tiers:
            assert depth(fetch(tiers)) == 300


@pytest.mark.parametrize(
    ("wrong", "counter"),
    [
        ({"fingerprint": "weights-2"}, "foreign"),
        ({"namespace": "of another"}, "foreign"),
        ({"token_ids": ids(300, seed=2)}, "foreign"),
        ({"token_ids": None}, "foreign"),
        ({"snapshot": snapshot(299)}, "corrupt"),
    ],
)
def test_what_lies_under_a_key_of_others_is_removed_and_the_next_one_tried(store, wrong, counter):
    with tiers_over(store) as tiers:
        write_to(store, 100)
        write_to(store, 300, wrong)
        assert depth(fetch(tiers)) == 100
        assert getattr(of(tiers, store.name), counter) == 1
        assert not store.present([key_of(IDS[:300])[1]])
        assert depth(fetch(tiers)) == 100
        assert getattr(of(tiers, store.name), counter) == 1


@pytest.mark.parametrize("seed", range(25))
def test_altered_bytes_in_the_file_are_never_a_wrong_state(tmp_path, seed):
    with closing(DiskStore(tmp_path, 64 << 20)) as store:
        for tokens in range(50, 600, 50):
            write_to(store, tokens)
    rng = random.Random(seed)
    with (tmp_path / "cache.sqlite").open("r+b") as file:
        size = file.seek(0, 2)
        for _ in range(rng.choice([1, 30, 1000])):
            file.seek(rng.randrange(size) if rng.random() < 0.7 else rng.randrange(200))
            file.write(rng.randbytes(rng.choice([1, 8])))
    with tiers_over(DiskStore(tmp_path, 64 << 20)) as tiers:
        for tokens in range(600, 0, -60):
            depth(fetch(tiers, tokens))
        put(tiers, 600)
        tiers.flush(10)
        depth(fetch(tiers))


@pytest.mark.parametrize("seed", range(10))
def test_altered_bytes_in_redis_are_never_a_wrong_state(shared, shared_redis, seed):
    rng = random.Random(seed)
    write_to(shared, 100)
    write_to(shared, 300)
    space, key = key_of(IDS[:300])
    payload = bytearray(shared.read(space, key, 300))
    payload[rng.randrange(len(payload))] ^= rng.randrange(1, 256)
    with redis.Redis.from_url(shared_redis.url) as client, tiers_over(shared) as tiers:
        client.hset(f"rwkv-server:state:{key.hex()}", "payload", bytes(payload))
        found = depth(fetch(tiers))
        assert found == (100 if of(tiers, "shared").corrupt else 300)


def test_errors_of_a_store_are_misses(disk):
    failing = FailingStore(StoreUnavailable("gone"))
    with tiers_over(disk, failing) as tiers:
        put(tiers, 300)
        assert tiers.flush(10)
        assert depth(fetch(tiers)) == 300
        assert depth(fetch(tiers, beyond=300)) == 0
        counted = of(tiers, "shared")
        assert (counted.unavailable, counted.dropped, counted.writes) == (2, 1, 0)
        assert tiers.clear(shared=True)


def test_whatever_a_store_raises_a_fetch_is_done(caplog):
    with tiers_over(FailingStore(RuntimeError("a mistake"))) as tiers:
        assert depth(fetch(tiers)) == 0
        put(tiers, 300)
        assert tiers.flush(10)
        assert depth(fetch(tiers)) == 0
    assert caplog.text.count("a mistake") >= 2


def test_a_fetch_is_done_in_time_even_if_the_store_hangs():
    hanging = FailingStore()
    with tiers_over(hanging, fetch_seconds=0.05) as tiers:
        assert [depth(fetch(tiers)) for _ in range(3)] == [0, 0, 0]
        hanging.gate.set()


def test_waiting_returns_at_once_where_nothing_is_pending(disk):
    with tiers_over(disk) as tiers:
        tiers.wait(1000)
        found = [tiers.fetch("", IDS, 0) for _ in range(20)]
        while not all(each.done for each in found):
            tiers.wait(1000)
        tiers.wait(1000)
        tiers.wait(1000)


def test_after_closing_nothing_is_found(disk):
    with tiers_over(disk) as tiers:
        pass
    put(tiers, 300)
    assert fetch(tiers).result is None


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "fetch", "fetch", "flush", "clear", "restart"]),
        st.sampled_from([1, 2]),  # which ids: the same up to 300
        st.sampled_from([100, 200, 300, 400, 500]),
        st.booleans(),
        st.sampled_from(["", "a"]),
    ),
    max_size=25,
)
OTHER = np.concatenate([IDS[:300], ids(300, seed=2)])


@settings(max_examples=40, deadline=None)
@given(OPERATIONS)
def test_random_operations_find_what_a_dict_does(tmp_path_factory, operations):
    store = DiskStore(tmp_path_factory.mktemp("states"), 64 << 20)
    kept = {}  # (namespace, ids) → whether with logits
    world = SimpleNamespace(tiers=SnapshotTiers([store], CODEC))
    for operation, which, tokens, flag, namespace in operations:
        token_ids = IDS if which == 1 else OTHER
        path = namespace, token_ids[:tokens].tobytes()
        if operation == "put":
            put(world.tiers, tokens, flag, namespace=namespace, token_ids=token_ids)
            kept[path] = kept.get(path, False) or flag
        elif operation == "clear":
            assert world.tiers.clear(shared=flag)
            kept.clear()
        elif operation == "restart":
            assert world.tiers.flush(10)
            world.tiers.close()
            world.tiers = SnapshotTiers([store], CODEC)
        elif operation == "fetch":
            assert world.tiers.flush(10)
            prefixes = {n: kept.get((namespace, token_ids[:n].tobytes())) for n in range(1, tokens)}
            useful = [n for n, logits in prefixes.items() if logits is not None]
            useful += [tokens] if kept.get(path) else []
            found = fetch(world.tiers, tokens, 0, namespace, token_ids)
            assert depth(found) == max(useful, default=0)
    world.tiers.close()
