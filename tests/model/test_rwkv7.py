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
from server.kernels.team import Team
from server.model.config import read_config
from server.model.initial_state import empty_state
from server.model.loading import choose_dtype, load_weights
from server.model.model import pack_batch
from server.model.state import StatePool
from tests import naive_models
from tests.model.random_models import load_model, random_tensors, write_model
from tests.model.reading import PROMPT, assert_same_bits, read, rounded_as


@pytest.fixture(scope="module")
def tensors():
    return random_tensors()


@pytest.fixture(scope="module")
def checkpoint(tensors, tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "random.safetensors", tensors)


@pytest.fixture(scope="module")
def model(checkpoint):
    return load_model(checkpoint)


def test_logits_are_the_twins(model, tensors):
    logits, _ = read(model, [PROMPT])
    np.testing.assert_allclose(logits, naive_models.Rwkv7(tensors).read(PROMPT), atol=1e-4)


def test_logits_are_the_twins_with_whole_heads(tmp_path):
    tensors = random_tensors(dim=192, head_size=64)
    model = load_model(write_model(tmp_path / "model.safetensors", tensors), threads=2)
    logits, _ = read(model, [PROMPT])
    np.testing.assert_allclose(logits, naive_models.Rwkv7(tensors).read(PROMPT), atol=1e-4)


@pytest.mark.parametrize(("dim", "head_size"), [(256, 128), (96, 32), (48, 16), (288, 144)])
def test_heads_of_other_sizes(tmp_path, dim, head_size):
    tensors = random_tensors(dim=dim, head_size=head_size)
    path = write_model(tmp_path / "model.safetensors", tensors)
    expected = naive_models.Rwkv7(tensors).read(PROMPT)
    logits, _ = read(load_model(path, threads=2), [PROMPT])
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    logits, _ = read(load_model(path, "int8", threads=2), [PROMPT])
    assert np.linalg.norm(logits - expected) < 0.05 * np.linalg.norm(expected)


@pytest.mark.parametrize(("dim", "head_size"), [(256, 128), (96, 32), (128, 64)])
def test_the_epsilon_of_the_group_norm_grows_with_the_heads(tmp_path, dim, head_size):
    tensors = random_tensors(dim=dim, head_size=head_size)
    for name in tensors:
        if name.endswith("att.value.weight"):  # so that it matters
            tensors[name] = tensors[name] * np.float32(0.001)
    path = write_model(tmp_path / "model.safetensors", tensors)
    expected = naive_models.Rwkv7(tensors).read(PROMPT)
    logits, _ = read(load_model(path), [PROMPT])
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert read_config(open_checkpoint(path)).group_norm_epsilon == head_size * 1e-5
    other = naive_models.Rwkv7(tensors)
    other.group_epsilon = 64e-5
    differs = np.abs(other.read(PROMPT) - expected).max() > 0.01
    assert differs == (head_size != 64)


def test_a_file_of_another_epsilon_is_refused(tensors, tmp_path):
    path = tmp_path / "model.safetensors"
    stored = {name: ("float32", values) for name, values in tensors.items()}
    for right in ("0.0002", "2e-4"):
        write_safetensors(path, stored, {EPSILON_KEY: right})
        assert read_config(open_checkpoint(path)).group_norm_epsilon == 20 * 1e-5
    for wrong in ("0.00064", "1e-5", "nan"):
        write_safetensors(path, stored, {EPSILON_KEY: wrong})
        with pytest.raises(CheckpointError, match=r"model\.safetensors: group_norm_epsilon"):
            read_config(open_checkpoint(path))


def test_bfloat16_is_the_twin_of_the_rounded_weights(checkpoint, tensors):
    matrices = ("emb", "head", "receptance", "key", "value", "output")
    rounded = {
        name: bfloat16_to_float32(float32_to_bfloat16(values))
        if name.endswith(".weight") and name.split(".")[-2] in matrices
        else values
        for name, values in tensors.items()
    }
    logits, _ = read(load_model(checkpoint, "bfloat16"), [PROMPT])
    np.testing.assert_allclose(logits, naive_models.Rwkv7(rounded).read(PROMPT), atol=1e-4)


@pytest.mark.parametrize(("dtype", "error"), [("int8", 0.05), ("int4", 0.3)])
def test_integers_are_the_twin_with_rounded_weights_and_inputs(checkpoint, tensors, dtype, error):
    # The embedding is kept in bfloat16.
    embedding = bfloat16_to_float32(float32_to_bfloat16(tensors["emb.weight"]))
    twin = naive_models.Rwkv7({**tensors, "emb.weight": embedding}, rounded_as(dtype)).read(PROMPT)
    exact = naive_models.Rwkv7(tensors).read(PROMPT)
    logits, _ = read(load_model(checkpoint, dtype), [PROMPT])
    # An input close to the middle between two codes may be rounded to the other one.
    assert np.abs(logits - twin).max() < 0.3 * np.abs(twin - exact).max()
    assert np.linalg.norm(logits - exact) < error * np.linalg.norm(exact)


def test_float16_weights_are_kept_as_they_are(tensors, tmp_path):
    stored = {name: values.astype(np.float16) for name, values in tensors.items()}
    path = write_model(tmp_path / "half.safetensors", stored, "float16")
    exact, _ = read(load_model(path, "float32"), [PROMPT])
    assert choose_dtype("auto", read_config(open_checkpoint(path))) == "bfloat16"
    halves, _ = read(load_model(path, "bfloat16"), [PROMPT])
    assert halves.tobytes() == exact.tobytes()


def test_weights_too_large_for_the_type_are_refused_by_name(tensors, tmp_path):
    large = {name: values.copy() for name, values in tensors.items()}
    large["blocks.1.att.key.weight"][3, 2] = 1e7
    path = write_model(tmp_path / "large.safetensors", large)
    load_model(path, "float32")
    for dtype in ("int8", "int4"):
        with pytest.raises(CheckpointError, match=r"att\.key\.weight has values up to 1e\+07"):
            load_model(path, dtype)


def test_a_single_layer_has_no_value_residual(tmp_path):
    tensors = random_tensors(layers=1, dim=32, vocab_size=16, head_size=16)
    model = load_model(write_model(tmp_path / "one.safetensors", tensors))
    logits, _ = read(model, [[3, 1, 4, 1, 5]])
    np.testing.assert_allclose(logits, naive_models.Rwkv7(tensors).read([3, 1, 4, 1, 5]), atol=1e-4)


def test_only_wanted_rows_get_logits(model):
    pool = StatePool(model.config, 4)
    batch = [([1, 2], 0, False), ([3], 1, True), ([4, 5, 6], 2, False)]
    assert model.forward(pack_batch(batch), pool.state).shape[0] == 1


def test_the_real_model_has_the_expected_logits(fixtures_dir):
    path = fixtures_dir / "tiny-rwkv" / "tiny-rwkv-7v0-834K.safetensors"
    expected = np.fromfile(path.with_name("expected-logits-7v0-834K.bin"), dtype="<f4")
    for threads in (1, 2):
        logits, _ = read(load_model(path, threads=threads), [list(b'"in')])
        np.testing.assert_allclose(logits, expected, atol=1e-4)
    twin = naive_models.Rwkv7({n: t.to_float32() for n, t in open_checkpoint(path).tensors.items()})
    np.testing.assert_allclose(twin.read(b'"in'), expected, atol=1e-4)


def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, tensors):
    broken = {name: values.copy() for name, values in tensors.items()}
    broken["blocks.1.ffn.key.weight"][3, 2] = np.nan
    path = write_model(tmp_path / "nan.safetensors", broken)
    with pytest.raises(CheckpointError, match=r"blocks\.1\.ffn\.key\.weight"):
        load_model(path)


def test_a_slot_starts_empty_again(model):
    pool = StatePool(model.config, 2)
    slot = pool.acquire(empty_state(model.config))
    first, _ = read(model, [PROMPT], slot, pool)
    pool.release(slot)
    assert pool.acquire(empty_state(model.config)) == slot
    again, _ = read(model, [PROMPT], slot, pool)
    assert again.tobytes() == first.tobytes()
    assert pool.free == 1


@pytest.mark.parametrize("layers", [1, 3])
def test_loading_counts_every_byte_once(tmp_path, layers):
    tensors = random_tensors(layers=layers, dim=32, vocab_size=16, head_size=16)
    checkpoint = open_checkpoint(write_model(tmp_path / "model.safetensors", tensors))
    seen = []
    load_weights(
        checkpoint, read_config(checkpoint), "int8", Team(1), None,
        lambda stage, *step: seen.append((stage, *step)),
    )  # fmt: skip
    total = sum(tensor.nbytes for tensor in checkpoint.tensors.values())
    done = [count for _, count, _ in seen]
    assert {(stage, of) for stage, _, of in seen} == {("packing weights as int8", total)}
    assert done == sorted(set(done))
    assert done[-1] == total


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int8", "int4"])
@pytest.mark.parametrize(("dim", "head_size"), [(60, 20), (192, 64)])
def test_chunks_tokens_neighbours_and_threads_give_the_same_bits(tmp_path, dim, head_size, dtype):
    # Heads of 64 stay on a thread, others do not; 192 channels are an odd number of row pairs.
    stored = "float16" if dtype == "float16" else "float32"
    tensors = random_tensors(dim=dim, head_size=head_size)
    values = {name: t.astype(stored) for name, t in tensors.items()}
    checkpoint = write_model(tmp_path / "model.safetensors", values, stored)
    assert_same_bits(checkpoint, "bfloat16" if dtype == "float16" else dtype)
