"""Snapshots as bytes: what goes in comes out, and anything else is refused."""

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from server.state_cache.encoding import (
    SnapshotError,
    StoredSnapshot,
    decode_snapshot,
    encode_snapshot,
)
from server.state_cache.snapshot import Snapshot

SHAPES = {"shift": (2, 8), "wkv": (2, 2, 4, 4)}
VOCABULARY = 16


def stored(seed=0, logits=True, ids=True, tokens=5, namespace="of\n\u00e9"):
    rng = np.random.default_rng(seed)
    state = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
    row = rng.standard_normal(VOCABULARY).astype(np.float32) if logits else None
    token_ids = rng.integers(0, 65_536, tokens).astype(np.int32) if ids else None
    return StoredSnapshot(Snapshot(tokens, state, row), "weights-1", namespace, token_ids)


def decode(data):
    return decode_snapshot(data, SHAPES, VOCABULARY)


@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize("ids", [False, True])
def test_what_goes_in_comes_out(logits, ids):
    given = stored(logits=logits, ids=ids)
    found = decode(encode_snapshot(given))
    assert (found.fingerprint, found.namespace) == (given.fingerprint, given.namespace)
    assert found.snapshot.tokens == 5
    for name, array in given.snapshot.state.items():
        assert found.snapshot.state[name].tobytes() == array.tobytes()
    assert (found.snapshot.logits is None) == (not logits)
    if logits:
        assert found.snapshot.logits.tobytes() == given.snapshot.logits.tobytes()
    assert (found.token_ids is None) == (not ids)
    if ids:
        assert found.token_ids.tolist() == given.token_ids.tolist()


def test_it_is_a_safetensors_file():
    given = stored()
    tensors = safetensors.numpy.load(encode_snapshot(given))
    assert set(tensors) == {"shift", "wkv", "logits", "token_ids"}
    np.testing.assert_array_equal(tensors["wkv"], given.snapshot.state["wkv"])


def test_float16_rounds_and_refuses_what_it_cannot_hold():
    given = stored()
    data = encode_snapshot(given, "float16")
    assert len(data) < 0.75 * len(encode_snapshot(given))
    found = decode(data)
    expected = given.snapshot.state["wkv"].astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(found.snapshot.state["wkv"], expected)
    state = {name: np.full(shape, 1e6, np.float32) for name, shape in SHAPES.items()}
    with pytest.raises(SnapshotError, match="float16 cannot hold"):
        encode_snapshot(StoredSnapshot(Snapshot(1, state), "w"), "float16")


@given(st.data())
def test_any_altered_byte_is_refused(data):
    encoded = bytearray(encode_snapshot(stored()))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= data.draw(st.integers(1, 255))
    try:
        found = decode(bytes(encoded))
    except SnapshotError:
        return
    # Blanks that pad the header, or an escape written otherwise: the same snapshot.
    assert found.checksum == decode(encode_snapshot(stored())).checksum


@given(st.integers(0, 10_000))
def test_any_missing_end_is_refused(cut):
    encoded = encode_snapshot(stored())
    if cut < len(encoded):
        with pytest.raises(SnapshotError):
            decode(encoded[:cut])


@given(st.binary(max_size=300))
def test_other_bytes_are_refused(data):
    with pytest.raises(SnapshotError):
        decode(data)


@pytest.mark.parametrize(
    ("shapes", "vocabulary"), [(SHAPES | {"wkv": (2, 2, 4, 5)}, 16), ({}, 16), (SHAPES, 17)]
)
def test_states_of_other_models_are_refused(shapes, vocabulary):
    with pytest.raises(SnapshotError, match="this model has"):
        decode_snapshot(encode_snapshot(stored()), shapes, vocabulary)


def test_other_files_are_refused():
    plain = safetensors.numpy.save({"wkv": np.zeros(3, np.float32)})
    with pytest.raises(SnapshotError, match="not a state that was exported"):
        decode(plain)
    state = {name: np.full(shape, np.nan, np.float32) for name, shape in SHAPES.items()}
    with pytest.raises(SnapshotError, match="not finite"):
        decode(encode_snapshot(StoredSnapshot(Snapshot(1, state), "w")))
