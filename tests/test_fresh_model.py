"""Fresh models: the same bytes whatever the threads, in little memory."""

import tracemalloc

import numpy as np
import pytest

from server.checkpoints.checkpoint import float32_to_bfloat16
from server.checkpoints.reader import open_checkpoint
from server.fresh_model.writing import write_fresh_model
from server.model import initial_values
from server.model.initialize import design, initialize
from server.model.tensors import FIELDS


def write(path, config, threads=1, dtype="float32", seed=5):
    write_fresh_model(path, config, seed, dtype, threads, lambda *_: None)
    return path


@pytest.mark.parametrize("generation", FIELDS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_bytes_do_not_depend_on_threads(tmp_path, generation, dtype, monkeypatch):
    monkeypatch.setattr(initial_values, "PIECE_VALUES", 5000)
    config = design(generation, 2, 96, 1111, 32)
    one = write(tmp_path / "1.st", config, 1, dtype)
    assert write(tmp_path / "5.st", config, 5, dtype).read_bytes() == one.read_bytes()
    assert write(tmp_path / "6.st", config, 5, dtype, 6).read_bytes() != one.read_bytes()
    tensors = open_checkpoint(one).tensors
    for name, values in initialize(config, 5):
        expected = float32_to_bfloat16(values) if dtype == "bfloat16" else values
        assert tensors[name].data.tobytes() == expected.tobytes(), name


@pytest.mark.parametrize("size", [1, 17, 5000, 1 << 19])
def test_the_bytes_do_not_depend_on_pieces(monkeypatch, size):
    config = design("rwkv7", 2, 64, 300, 32)
    expected = dict(initialize(config, 1))
    monkeypatch.setattr(initial_values, "PIECE_VALUES", size)
    for name, values in initialize(config, 1):
        # A library may compute a few rows at once otherwise than one.
        np.testing.assert_allclose(values, expected[name], rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    "shape", [(64, 64), (65, 64), (127, 64), (640, 64), (50_277 // 50, 96), (7, 96), (2, 1), (1, 1)]
)
def test_rotations_are_orthogonal_and_look_normal(shape):
    draws = initial_values.Draws(3, "head.weight")
    found = initial_values.orthogonal(draws, shape, 0.5).astype(np.float64)
    product = found.T @ found if shape[0] >= shape[1] else found @ found.T
    np.testing.assert_allclose(product, 0.25 * np.eye(min(shape)), atol=1e-6)
    if min(shape) >= 64:
        scaled = found.reshape(-1) / found.std()
        assert abs(scaled.mean()) < 0.05
        assert (scaled**4).mean() == pytest.approx(3, abs=0.25)
        assert np.abs(scaled).max() < 6
        # No row is like another one: not even shifted, turned round or negated.
        spectra = np.abs(np.fft.rfft(found, axis=1))
        likeness = np.corrcoef(spectra)[np.triu_indices(len(found), 1)]
        assert np.abs(likeness).max() < 0.8


def test_memory_is_bounded_by_pieces_not_by_the_model(tmp_path):
    config = design("rwkv7", 1, 256, 65_536)
    tracemalloc.start()
    try:
        write(tmp_path / "m.st", config, 2, "bfloat16")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "m.st").stat().st_size > 64 << 20
    assert peak < 40 << 20
