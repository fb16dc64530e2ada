"""Which snapshots are written, when, and in which type."""

import numpy as np
import pytest

from server.state_cache import write_behind
from server.state_cache.write_behind import WORTH_TOKENS
from tests.state_cache.stored import ids, key_of, snapshot
from tests.state_cache.tiering import IDS, FailingStore, depth, fetch, of, put, tiers_over, write_to


def test_a_chat_turn_is_written_once_or_twice(disk):
    with tiers_over(disk) as tiers:
        put(tiers, 20, kind="system")
        put(tiers, 550, kind="message")
        put(tiers, 555, logits=True, kind="prompt")
        put(tiers, 600, kind="reply")
        put(tiers, 630, kind="message")
        put(tiers, 635, logits=True, kind="prompt")
        put(tiers, 690, kind="reply")
        assert tiers.flush(10)
        # 550 is far beyond the system message; what follows is near to what is stored.
        assert disk.lengths(key_of(IDS)[0], 0, 800) == [690, 600, 550, 20]


@pytest.mark.parametrize("kind", ["prompt", "message", "spaced"])
def test_what_is_fetched_counts_as_stored(disk, kind):
    write_to(disk, 200)
    with tiers_over(disk) as tiers:
        assert depth(fetch(tiers)) == 200
        put(tiers, 199 + WORTH_TOKENS, kind=kind)
        put(tiers, WORTH_TOKENS - 1, kind=kind, token_ids=ids(800, seed=2))
        assert tiers.flush(10)
        assert of(tiers).writes == 0
        put(tiers, 200 + WORTH_TOKENS, kind=kind)
        put(tiers, WORTH_TOKENS, kind=kind, token_ids=ids(800, seed=2))
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


def test_what_an_earlier_process_left_is_counted_and_what_is_written_since(disk):
    write_to(disk, 200)
    with tiers_over(disk) as tiers:
        assert tiers.flush(10)
        assert of(tiers).entries == 1
        put(tiers, 300)
        assert tiers.flush(10)
        assert of(tiers).entries == 2


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
        put(tiers, 600)
        assert tiers.flush(10)
        put(tiers, 700)
        assert tiers.clear(shared=False)
        assert tiers.flush(10)
        found = fetch(tiers)
        assert (depth(found), found.tier) == (600, "shared")
        assert tiers.clear(shared=True)
        put(tiers, 610, kind="prompt")  # near to what was stored, but that is forgotten
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
