"""The tiers as the engine sees them: the deepest snapshot, verified, and writes that wait."""

import random
import threading
from contextlib import closing, contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from server.snapshots import write_behind
from server.snapshots.disk_store import DiskStore
from server.snapshots.encoding import StoredSnapshot, encode_snapshot
from server.snapshots.store import StoreUnavailable
from server.snapshots.tiers import SnapshotTiers
from tests.snapshots.stored import FINGERPRINT, SHAPES, VOCABULARY, ids, key_of, same, snapshot

IDS = ids(600)


@contextmanager
def tiers_over(*stores, **options):
    given = {"fingerprint": FINGERPRINT, "shapes": SHAPES, "vocab_size": VOCABULARY}
    tiers = SnapshotTiers(stores, **given | options)
    try:
        yield tiers
    finally:
        tiers.close()


def put(tiers, tokens, logits=False, kind="reply", namespace="", token_ids=IDS):
    tiers.put(namespace, token_ids[:tokens], snapshot(tokens, logits), kind)


def fetch(tiers, tokens=600, beyond=0, namespace="", token_ids=IDS):
    found = tiers.fetch(namespace, token_ids[:tokens], beyond)
    while not found.done:
        tiers.wait(10)
    return found


def depth(found):
    """After how many tokens, once the values are seen to be those of then; 0: nothing."""
    if found.result is None:
        return 0
    result = found.result.snapshot
    assert same(result, snapshot(result.tokens))
    return result.tokens


def write_to(store, tokens, wrong=None):
    """As another process would have, but for what is wrong about it."""
    stored = StoredSnapshot(snapshot(tokens), FINGERPRINT, "", IDS[:tokens])
    payload = encode_snapshot(replace(stored, **wrong or {}))
    store.write(*key_of(IDS[:tokens]), tokens, False, payload)


def of(tiers, name="disk"):
    return tiers.counters()[name]


class FailingStore:
    """Raises what it is given, or waits until it is let go."""

    name = "shared"
    errors = 0

    def __init__(self, error=None):
        self.error = error
        self.gate = threading.Event()

    def _fail(self, *_):
        if self.error is not None:
            raise self.error
        self.gate.wait()
        raise StoreUnavailable("let go")

    prepare = lengths = present = read = write = remove = clear = usage = _fail

    def close(self):
        pass


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


def test_a_chat_turn_is_written_once_or_twice(disk):
    with tiers_over(disk) as tiers:
        put(tiers, 20, kind="system")
        put(tiers, 150, kind="message")
        put(tiers, 155, logits=True, kind="prompt")
        put(tiers, 200, kind="reply")
        put(tiers, 230, kind="message")
        put(tiers, 235, logits=True, kind="prompt")
        put(tiers, 290, kind="reply")
        assert tiers.flush(10)
        # 150 is 130 beyond the system message; what follows is near to what is stored.
        assert disk.lengths(key_of(IDS)[0], 0, 600) == [290, 200, 150, 20]


@pytest.mark.parametrize("kind", ["prompt", "message", "spaced"])
def test_what_is_fetched_counts_as_stored(disk, kind):
    write_to(disk, 200)
    with tiers_over(disk) as tiers:
        assert depth(fetch(tiers)) == 200
        put(tiers, 327, kind=kind)
        put(tiers, 100, kind=kind, token_ids=ids(600, seed=2))
        assert tiers.flush(10)
        assert of(tiers).writes == 0
        put(tiers, 328, kind=kind)
        put(tiers, 128, kind=kind, token_ids=ids(600, seed=2))
        assert tiers.flush(10)
        assert of(tiers).writes == 2


def test_what_is_stored_is_not_written_again(disk):
    for _ in range(2):
        with tiers_over(disk) as tiers:
            put(tiers, 300, logits=True)
            put(tiers, 300)
            assert tiers.flush(10)
            put(tiers, 300)
            assert tiers.flush(10)
            writes = of(tiers).writes
    assert writes == 0


def test_what_an_earlier_process_left_is_counted_from_the_start(disk):
    write_to(disk, 200)
    with tiers_over(disk) as tiers:
        put(tiers, 300)
        assert tiers.flush(10)
        assert of(tiers).entries == 1


def test_writes_wait_for_an_idle_engine(disk, monkeypatch):
    monkeypatch.setattr(write_behind, "DELAY_SECONDS", 1000)
    with tiers_over(disk) as tiers:
        put(tiers, 200)
        assert tiers.flush(10)
        put(tiers, 300)
        assert {depth(fetch(tiers)) for _ in range(50)} == {200}
        tiers.idle()
        while depth(fetch(tiers)) != 300:
            pass


def test_writes_wait_only_so_long(disk, monkeypatch):
    monkeypatch.setattr(write_behind, "DELAY_SECONDS", 0.01)
    with tiers_over(disk) as tiers:
        put(tiers, 300)
        while not of(tiers).writes:
            fetch(tiers)


def test_beyond_the_queue_the_oldest_are_dropped(disk, monkeypatch):
    monkeypatch.setattr(write_behind, "DELAY_SECONDS", 1000)
    size = snapshot(1).nbytes
    with tiers_over(disk, queue_bytes=3 * size + 4 * (10 + 20 + 30)) as tiers:
        for tokens in (5, 10, 20, 30):
            put(tiers, tokens)
        assert tiers.flush(10)
        assert disk.lengths(key_of(IDS)[0], 0, 600) == [30, 20, 10]
        assert of(tiers).dropped == 1


def test_flushing_takes_only_so_long():
    hanging = FailingStore()
    with tiers_over(hanging) as tiers:
        put(tiers, 300)
        assert not tiers.flush(0.01)
        hanging.gate.set()
        assert tiers.flush(10)


def test_clearing_drops_what_is_queued_and_leaves_the_shared_tier_alone(disk, shared, monkeypatch):
    monkeypatch.setattr(write_behind, "DELAY_SECONDS", 1000)
    with tiers_over(disk, shared) as tiers:
        put(tiers, 300)
        assert tiers.flush(10)
        put(tiers, 400)
        assert tiers.clear(shared=False)
        assert tiers.flush(10)
        found = fetch(tiers)
        assert (depth(found), found.tier) == (300, "shared")
        assert tiers.clear(shared=True)
        put(tiers, 310, kind="prompt")  # near to what was stored, but that is forgotten
        assert tiers.flush(10)
        assert fetch(tiers).tier == "disk"
        assert tiers.clear(shared=True)
        assert depth(fetch(tiers)) == 0


def test_usage_is_counted(disk):
    with tiers_over(disk) as tiers:
        put(tiers, 300)
        assert tiers.flush(10)
        while not of(tiers).entries:
            fetch(tiers)
        counted = of(tiers)
        assert (counted.entries, counted.writes) == (1, 1)
        assert counted.nbytes >= counted.written_bytes > 300 * 4


def test_what_float16_cannot_hold_is_refused(disk):
    with tiers_over(disk, dtype="float16") as tiers:
        tiers.put("", IDS[:300], snapshot(300, scale=1e6), "reply")
        assert tiers.flush(10)
        assert (of(tiers).refused, of(tiers).writes) == (1, 0)


def test_float16_is_exact_to_eleven_bits_and_kept_apart(disk):
    with tiers_over(disk, dtype="float16") as half, tiers_over(disk) as exact:
        put(half, 300)
        assert half.flush(10)
        assert depth(fetch(exact)) == 0
        found = fetch(half).result.snapshot.state
        for name, expected in snapshot(300).state.items():
            np.testing.assert_allclose(found[name], expected, rtol=2**-11, atol=2**-25)
            assert (found[name] != expected).any()


def test_a_snapshot_of_another_number_of_tokens_is_refused(disk):
    with tiers_over(disk) as tiers, pytest.raises(ValueError, match="snapshot of 3 tokens"):
        tiers.put("", IDS[:4], snapshot(3), "reply")


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
    world = SimpleNamespace(tiers=SnapshotTiers([store], FINGERPRINT, SHAPES, VOCABULARY))
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
            world.tiers = SnapshotTiers([store], FINGERPRINT, SHAPES, VOCABULARY)
        elif operation == "fetch":
            assert world.tiers.flush(10)
            prefixes = {n: kept.get((namespace, token_ids[:n].tobytes())) for n in range(1, tokens)}
            useful = [n for n, logits in prefixes.items() if logits is not None]
            useful += [tokens] if kept.get(path) else []
            found = fetch(world.tiers, tokens, 0, namespace, token_ids)
            assert depth(found) == max(useful, default=0)
    world.tiers.close()
