"""The safetensors reader and writer against the official library, and against broken files."""

import json

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.checkpoints.checkpoint import (
    bfloat16_to_float32,
    float32_to_bfloat16,
)
from server.checkpoints.reader import open_checkpoint
from server.checkpoints.writer import stream_safetensors, write_safetensors
from tests.checkpoints.refusals import assert_refused, read_all

FLOATS = np.arange(6, dtype=np.float32).reshape(2, 3)


def write(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_reads_what_the_library_writes(tmp_path):
    path = tmp_path / "model.safetensors"
    random = np.random.default_rng(0)
    arrays = {
        "f64": random.standard_normal((3,)),
        "f32": random.standard_normal((2, 3, 4)).astype(np.float32),
        "f16": random.standard_normal((5, 2)).astype(np.float16),
        "i64": np.array([[-1, 2]]),
        "u8": np.arange(3, dtype=np.uint8),
        "scalar": np.array(1.5, np.float32),
        "empty": np.zeros((0, 4), np.float32),
    }
    safetensors.numpy.save_file(arrays, path, {"who": "them"})
    checkpoint = open_checkpoint(path)
    assert checkpoint.metadata == {"who": "them"}
    assert set(checkpoint.tensors) == set(arrays)
    for name, array in arrays.items():
        tensor = checkpoint.tensors[name]
        assert tensor.shape == array.shape
        assert tensor.dtype == array.dtype.name
        assert tensor.nbytes == array.nbytes
        np.testing.assert_array_equal(tensor.data, array)
        floats = tensor.to_float32()
        assert floats.dtype == np.float32
        assert floats.flags.c_contiguous
        assert floats.flags.aligned
        np.testing.assert_array_equal(floats, array.astype(np.float32))


def test_library_reads_what_we_write(tmp_path):
    path = tmp_path / "model.safetensors"
    bits = float32_to_bfloat16(FLOATS)
    tensors = {
        "half": ("float16", FLOATS.astype(np.float16)),
        "brain": ("bfloat16", bits),
        "full": ("float32", FLOATS.T),
    }
    progress = []
    write_safetensors(path, tensors, {"b": "2", "a": "1"}, lambda *done: progress.append(done))
    assert progress == [(24, 48), (36, 48), (48, 48)]
    with safetensors.safe_open(path, "numpy") as file:
        assert file.metadata() == {"a": "1", "b": "2"}
        np.testing.assert_array_equal(file.get_tensor("half"), FLOATS.astype(np.float16))
        np.testing.assert_array_equal(file.get_tensor("full"), FLOATS.T)
        assert file.get_slice("brain").get_dtype() == "BF16"
        assert file.get_slice("brain").get_shape() == [2, 3]
    ours = open_checkpoint(path)
    np.testing.assert_array_equal(ours.tensors["brain"].data, bits)
    np.testing.assert_array_equal(ours.tensors["brain"].to_float32(), FLOATS)
    assert (int.from_bytes(path.read_bytes()[:8], "little") + 8) % 64 == 0
    assert all(tensor.data.flags.aligned for tensor in ours.tensors.values())
    first = path.read_bytes()
    write_safetensors(path, tensors, {"a": "1", "b": "2"})
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="w"):
        stream_safetensors(path, {"w": ("float32", (2,))}, iter([FLOATS]))
    with pytest.raises(ValueError):
        stream_safetensors(path, {"w": ("float32", (2, 3))}, iter([]))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@given(st.integers(0, 2**32 - 1))
def test_bfloat16_rounds_to_nearest(bits):
    value = np.array([bits], np.uint32).view(np.float32)
    back = bfloat16_to_float32(float32_to_bfloat16(value))
    if np.isnan(value[0]):
        assert np.isnan(back[0])
        return
    below = np.array([bits & 0xFFFF0000], np.uint32).view(np.float32).astype(np.float64)
    above = np.array([(bits & 0xFFFF0000) + 0x10000], np.uint64).astype(np.uint32)
    above = above.view(np.float32).astype(np.float64)
    exact = np.float64(value[0])
    if np.isfinite([below[0], above[0]]).all():
        assert abs(back[0] - exact) == min(abs(below[0] - exact), abs(above[0] - exact))
    assert np.signbit(back[0]) == np.signbit(value[0])


def test_every_truncation_is_refused(tmp_path):
    whole = tmp_path / "whole.safetensors"
    write_safetensors(whole, {"a": ("float32", FLOATS), "b": ("float16", np.zeros(3, np.float16))})
    data = whole.read_bytes()
    path = tmp_path / "cut.safetensors"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        assert_refused(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.data())
def test_flipped_bytes_never_crash(tmp_path, data):
    whole = tmp_path / "whole.safetensors"
    write_safetensors(whole, {"a": ("float32", FLOATS), "b": ("bfloat16", np.ones(3, np.uint16))})
    content = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 150))] = data.draw(st.integers(0, 255))
    path = tmp_path / "flipped.safetensors"
    path.write_bytes(content)
    read_all(path)


@pytest.mark.parametrize(
    ("header", "match"),
    [
        ({"a": entry(offsets=(0, 7))}, "do not hold"),
        ({"a": entry(offsets=(8, 16))}, "past the end"),
        ({"a": entry(offsets=(-8, 0))}, "negative"),
        ({"a": entry(offsets=(8, 0))}, "reversed"),
        ({"a": entry(offsets=(0.0, 8))}, "two integers"),
        ({"a": entry(offsets=(0, 8, 8))}, "two integers"),
        ({"a": entry(shape=(3,))}, "do not hold"),
        ({"a": entry(shape=(-1, -2))}, "non-negative"),
        ({"a": entry(shape=(True, 2))}, "non-negative"),
        ({"a": entry(shape=(2**40, 2**40))}, "do not hold"),
        ({"a": entry(shape=(2**400,))}, "non-negative"),
        ({"a": entry(shape=(1,) * 40)}, "short list"),
        ({"a": entry(shape=(0, 2**47, 2**47), offsets=(0, 0))}, "impossible"),
        ({"a": entry(dtype="F8_E4M3", offsets=(0, 2))}, "F8_E4M3 is not supported"),
        ({"a": entry(dtype=["F32"])}, "not supported"),
        ({"a": entry() | {"more": 1}}, "exactly"),
        ({"a": [1]}, "exactly"),
        ({"a": entry(), "b": entry(shape=(1,), offsets=(4, 8))}, "overlaps"),
        ({"__metadata__": {"a": 1}}, "__metadata__"),
        ({"__metadata__": []}, "__metadata__"),
        (b'{"a":{}, "a":{}}', "twice"),
        (b'{"a": NaN}', "not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "valid JSON"),
        (b'{"a": "\xff"}', "valid JSON"),
        (b'{"a": ' + b"[" * 100_000, "nested"),
        (b"{", "valid JSON"),
        ({"a\n\x1b[31m" + "x" * 10_000: []}, "exactly"),
    ],
)
def test_lies_are_refused(tmp_path, header, match):
    assert_refused(write(tmp_path / "bad.safetensors", header, bytes(8)), match)


def test_header_length_is_not_trusted(tmp_path):
    path = tmp_path / "bad.safetensors"
    path.write_bytes((2**63).to_bytes(8, "little") + b"{}")
    assert_refused(path, "too large")
    path.write_bytes((1000).to_bytes(8, "little") + b"{}")
    assert_refused(path, "truncated")


def test_gaps_and_odd_alignment_are_fine(tmp_path):
    header = {"a": entry(offsets=(3, 11)), "empty": entry(shape=(0,), offsets=(11, 11))}
    data = b"..." + np.array([1, 2], np.float32).tobytes()
    tensor = open_checkpoint(write(tmp_path / "odd", header, data)).tensors["a"]
    values = tensor.to_float32()
    assert values.flags.aligned
    np.testing.assert_array_equal(values, [1, 2])


def test_views_are_read_only(tmp_path):
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {"a": ("float32", FLOATS)})
    assert not open_checkpoint(path).tensors["a"].data.flags.writeable
