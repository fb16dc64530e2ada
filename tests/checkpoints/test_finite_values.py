"""NaN and infinity are found in every dtype, within a bound."""

import numpy as np
import pytest

from server.checkpoints import finite_values
from server.checkpoints.checkpoint import float32_to_bfloat16
from server.checkpoints.finite_values import check_values
from server.checkpoints.ggml import stored_shape, view_ggml_tensor
from server.checkpoints.reader import open_checkpoint
from server.checkpoints.writer import write_safetensors

BAD = (np.nan, np.inf, -np.inf, np.float32(-np.nan))


def write(path, tensors, dtype="float32"):
    def stored(values):
        return float32_to_bfloat16(values) if dtype == "bfloat16" else values.astype(dtype)

    write_safetensors(path, {name: (dtype, stored(values)) for name, values in tensors.items()})
    return open_checkpoint(path)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(), (7,), (50, 3), (5, 4, 3)])
def test_every_dtype_and_shape(tmp_path, dtype, shape):
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    largest = {"float16": 65504, "bfloat16": 3.38e38}.get(dtype, np.finfo(np.float32).max)
    good = np.array(values)
    good.reshape(-1)[0] = largest
    tensors = {"good": good}
    count = min(values.size, len(BAD))
    values.reshape(-1)[-count:] = BAD[:count]
    checkpoint = write(tmp_path / "m.st", tensors | {"bad": values}, dtype)
    found = check_values(checkpoint, lambda *_: None)
    assert found.not_finite == {"bad": count}
    assert found.checked == 1


def test_integers_and_nothing_are_finite(tmp_path):
    tensors = {"a": ("int8", np.ones(3, np.int8)), "b": ("float32", np.empty((0, 3), np.float32))}
    write_safetensors(tmp_path / "m.st", tensors)
    assert check_values(open_checkpoint(tmp_path / "m.st"), lambda *_: None).not_finite == {}


def test_what_float32_does_not_hold(tmp_path):
    write_safetensors(tmp_path / "m.st", {"a": ("float64", np.array([1e39, 1.0, -1e300]))})
    assert check_values(open_checkpoint(tmp_path / "m.st"), lambda *_: None).not_finite == {"a": 2}


def test_blocks_with_a_scale_that_is_not_finite():
    shape = (4, 64)
    data = np.zeros(stored_shape("q8_0", shape), np.uint8)
    data[:, 2:34] = 1
    data[2, :2] = np.frombuffer(np.float16(np.inf).tobytes(), np.uint8)
    tensor = view_ggml_tensor(bytes(data.tobytes()), "a", "q8_0", shape, 0)
    assert finite_values._count(tensor, slice(0, 4)) == 32
    assert finite_values._count(tensor, slice(0, 2)) == 0


def test_large_checkpoints_are_sampled_within_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(finite_values, "_PIECE_BYTES", 1000)
    tensors = {name: np.zeros((1000, 10), np.float32) for name in "abc"}
    tensors["a"][0, 0] = tensors["b"][-1, -1] = np.nan
    checkpoint = write(tmp_path / "m.st", tensors)
    steps = []
    whole = check_values(checkpoint, lambda *step: steps.append(step))
    assert (whole.checked, whole.not_finite) == (1, {"a": 1, "b": 1})
    assert steps[-1] == (120_000, 120_000)
    part = check_values(checkpoint, lambda *_: None, max_bytes=13_000)
    assert part.checked <= 0.125
    assert part.not_finite == {"a": 1}  # the first rows of each are read
    assert part == check_values(checkpoint, lambda *_: None, max_bytes=13_000)
