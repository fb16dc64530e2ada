"""What both stores promise: the same tests run on a real file and on a real Redis."""

import os

import numpy as np

from server.state_cache.keys import prefix_keys, space_of
from server.state_cache.store import MOST_LENGTHS
from tests.state_cache.stored import ids

A, B = space_of("model", "a"), space_of("model", "b")
KEYS = [os.urandom(16) for _ in range(5)]


def test_what_is_written_is_read_until_it_is_removed(store):
    payload = os.urandom(3_000_000)
    assert store.read(A, KEYS[0], 7) is None
    assert store.write(A, KEYS[0], 7, True, payload)
    assert store.read(A, KEYS[0], 7) == payload
    store.remove(KEYS[0])
    assert store.read(A, KEYS[0], 7) is None
    assert store.present(KEYS) == {}
    store.remove(KEYS[0])
    assert store.errors == 0


def test_lengths_are_of_one_space_within_bounds_and_deepest_first(store):
    for tokens in (5, 100, 20, 300):
        store.write(A, os.urandom(16), tokens, False, b"x")
        store.write(A, os.urandom(16), tokens, False, b"x")
    store.write(B, os.urandom(16), 50, False, b"x")
    assert store.lengths(A, 0, 1000) == [300, 100, 20, 5]
    assert store.lengths(A, 5, 100) == [100, 20]
    assert store.lengths(B, 0, 1000) == [50]
    assert store.lengths(space_of("model", "c"), 0, 1000) == []


def test_what_is_present_tells_whether_it_has_logits(store):
    store.write(A, KEYS[0], 1, False, b"x")
    store.write(A, KEYS[1], 2, True, b"x")
    assert store.present(KEYS) == {KEYS[0]: False, KEYS[1]: True}
    assert store.present([]) == {}
    store.write(A, KEYS[0], 1, True, b"y")
    assert store.present(KEYS)[KEYS[0]]
    assert store.read(A, KEYS[0], 1) == b"y"


def test_clearing_forgets_all_spaces(store):
    for space in (A, B):
        store.write(space, os.urandom(16), 3, False, b"x")
    assert store.usage()[0] >= 2
    store.clear()
    assert store.lengths(A, 0, 9) == store.lengths(B, 0, 9) == []
    assert store.usage()[0] == 0
    assert store.write(A, KEYS[0], 3, False, b"x")
    assert store.read(A, KEYS[0], 3) == b"x"


def test_a_store_can_be_used_again_after_closing(store):
    store.write(A, KEYS[0], 3, False, b"x")
    store.close()
    assert store.read(A, KEYS[0], 3) == b"x"


def test_lengths_are_bounded(store, monkeypatch):
    monkeypatch.setattr(f"{type(store).__module__}.MOST_LENGTHS", 3)
    for tokens in range(1, 7):
        store.write(A, os.urandom(16), tokens, False, b"x")
    assert store.lengths(A, 0, 1000) == [6, 5, 4]
    assert MOST_LENGTHS == 4096


def test_keys_of_prefixes_depend_on_all_of_space_and_ids():
    token_ids = ids(50)
    lengths = [1, 2, 30, 50]
    keys = prefix_keys(A, token_ids, lengths)
    assert keys == [prefix_keys(A, token_ids[:n], [n])[0] for n in lengths]
    other = token_ids.copy()
    other[20] += 1
    changed = prefix_keys(A, other, lengths)
    assert changed[:2] == keys[:2]
    assert not set(changed[2:]) & set(keys)
    assert not set(prefix_keys(B, token_ids, lengths)) & set(keys)
    assert prefix_keys(A, np.flip(np.flip(token_ids)), lengths) == keys


def test_spaces_differ_by_model_namespace_and_type():
    spaces = {space_of(*of) for of in [("a", "bc"), ("ab", "c"), ("a", "bc", "float16"), ("", "")]}
    assert len(spaces) == 4
