"""The generations before RWKV-7, whose own tests are in test_rwkv7.py."""

import numpy as np
import pytest

from server.checkpoints.checkpoint import (
    EPSILON_KEY,
    CheckpointError,
    bfloat16_to_float32,
    float32_to_bfloat16,
)
from server.checkpoints.reader import open_checkpoint
from server.checkpoints.writer import write_safetensors
from server.model.config import read_config
from tests.model.random_models import load_model, random_tensors, write_model
from tests.model.reading import PROMPT, assert_same_bits, read, rounded_as
from tests.naive_models import twin

OLDER = ["rwkv4", "rwkv5.0", "rwkv5.1", "rwkv5.2", "rwkv6"]
# Each compiles a step of its own; 5.0 and 5.1 run that of 5.2. All types are tested of RWKV-7.
COMPILED = [
    ("rwkv4", "float32"),
    ("rwkv4", "int4"),
    ("rwkv5.0", "int8"),
    ("rwkv5.1", "float32"),
    ("rwkv5.2", "bfloat16"),
    ("rwkv6", "float32"),
    ("rwkv6", "int8"),
]


def write_random(folder, generation, **sizes):
    tensors = random_tensors(generation=generation, **sizes)
    return write_model(folder / "model.safetensors", tensors), tensors


@pytest.mark.parametrize("generation", OLDER)
@pytest.mark.parametrize(("dim", "head_size"), [(60, 20), (128, 64), (256, 128), (64, 32)])
def test_logits_are_the_twins(tmp_path, generation, dim, head_size):
    path, tensors = write_random(tmp_path, generation, dim=dim, head_size=head_size)
    logits, _ = read(load_model(path, threads=2), [PROMPT])
    np.testing.assert_allclose(logits, twin(tensors).read(PROMPT), atol=1e-4)


def test_bfloat16_is_the_twin_of_the_rounded_weights(tmp_path):
    path, tensors = write_random(tmp_path, "rwkv5.2")
    rounded = {
        name: bfloat16_to_float32(float32_to_bfloat16(values))
        if values.ndim == 2 and "time_" not in name
        else values
        for name, values in tensors.items()
    }
    logits, _ = read(load_model(path, "bfloat16"), [PROMPT])
    np.testing.assert_allclose(logits, twin(rounded).read(PROMPT), atol=1e-4)


@pytest.mark.parametrize(
    ("generation", "dtype", "error"),
    [("rwkv4", "int4", 0.3), ("rwkv5.0", "int8", 0.05), ("rwkv6", "int8", 0.05)],
)
def test_integers_are_the_twin_with_rounded_weights_and_inputs(tmp_path, generation, dtype, error):
    path, tensors = write_random(tmp_path, generation)
    embedding = bfloat16_to_float32(float32_to_bfloat16(tensors["emb.weight"]))
    rounded = twin({**tensors, "emb.weight": embedding}, rounded_as(dtype)).read(PROMPT)
    exact = twin(tensors).read(PROMPT)
    logits, _ = read(load_model(path, dtype), [PROMPT])
    # An input close to the middle between two codes may be rounded to the other one.
    assert np.linalg.norm(logits - rounded) < 0.5 * np.linalg.norm(rounded - exact)
    assert np.linalg.norm(logits - exact) < error * np.linalg.norm(exact)


@pytest.mark.parametrize(("generation", "dtype"), COMPILED)
@pytest.mark.parametrize(("dim", "head_size"), [(60, 20), (192, 64)])
def test_the_bits_are_the_same(tmp_path, generation, dtype, dim, head_size):
    path, _ = write_random(tmp_path, generation, dim=dim, head_size=head_size)
    assert_same_bits(path, dtype)


@pytest.mark.parametrize("generation", ["rwkv5.0", "rwkv5.1", "rwkv5.2"])
def test_the_epsilon_of_rwkv5_is_the_files(tmp_path, generation):
    tensors = random_tensors(generation=generation)
    stored = {name: ("float32", values) for name, values in tensors.items()}
    path = tmp_path / "model.safetensors"
    write_safetensors(path, stored, {EPSILON_KEY: "1e-05"})
    assert read_config(open_checkpoint(path)).group_norm_epsilon == 1e-5
    expected = twin(tensors)
    expected.group_epsilon = 1e-5
    logits, _ = read(load_model(path), [PROMPT])
    np.testing.assert_allclose(logits, expected.read(PROMPT), atol=1e-4)
    for wrong in ("0", "nan", "2", "small", ""):
        write_safetensors(path, stored, {EPSILON_KEY: wrong})
        with pytest.raises(CheckpointError, match=r"group_norm_epsilon .* not between 0 and 1"):
            read_config(open_checkpoint(path))


# What is stored in few bits differs from the float32 model that the logits are of; v5.2 and v6 have
# no float32 file, or the reverse.
FIXTURES = [
    ("4v0-660K", "FP32", 1e-4),
    ("4v0-660K", "FP16", 0.005),
    ("4v0-660K", "Q5_1", 0.15),
    ("5v2-730K", "FP32", 1e-4),
    ("5v2-730K", "Q5_0", 0.6),
    ("6v0-3m", "Q5_1", 0.15),
    ("7v0-834K", "FP32", 1e-4),
    ("7v0-834K", "FP16", 1e-4),
    ("7v0-834K", "Q5_1", 0.01),
]


@pytest.mark.parametrize(("model", "dtype", "bound"), FIXTURES)
def test_trained_models_have_the_expected_logits(fixtures_dir, model, dtype, bound):
    folder = fixtures_dir / "tiny-rwkv"
    expected = np.fromfile(folder / f"expected-logits-{model}.bin", dtype="<f4")
    for threads in (1, 2):
        found = load_model(folder / f"tiny-rwkv-{model}-{dtype}.bin", threads=threads)
        logits, _ = read(found, [list(b'"in')])
        assert np.abs(logits - expected).max() < bound
