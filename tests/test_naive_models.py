"""The float64 twins themselves: against definitions, the `rwkv` package and trained models."""

import sys

import numpy as np
import pytest

from benchmarks.peers.twins import compare
from server.checkpoints.reader import open_checkpoint
from tests import naive, naive_models
from tests.model.random_models import random_tensors

CLASSES = {
    "rwkv4": naive_models.Rwkv4,
    "rwkv5.0": naive_models.Rwkv5,
    "rwkv5.1": naive_models.Rwkv5,
    "rwkv5.2": naive_models.Rwkv5,
    "rwkv6": naive_models.Rwkv6,
    "rwkv7": naive_models.Rwkv7,
}
GATED = ("rwkv5.1", "rwkv5.2", "rwkv6")


def small(generation):
    return random_tensors(2, 64, 31, 16, generation=generation)


def test_wkv4_is_a_mean_of_all_values_so_far():
    rng = np.random.default_rng(3)
    k, v = rng.normal(0, 3, (2, 9, 5))
    decay, first = -np.exp(rng.normal(0, 1, 5)), rng.normal(0, 1, 5)
    state = (np.zeros(5), np.zeros(5), np.full(5, -1e30))
    for t in range(9):
        state, y = naive.wkv4(state, k[t], v[t], decay, first)
        weights = [np.exp(k[i] + (t - 1 - i) * decay) for i in range(t)] + [np.exp(k[t] + first)]
        mean = sum(w * value for w, value in zip(weights, v, strict=False)) / sum(weights)
        np.testing.assert_allclose(y, mean, rtol=1e-12)


def test_wkv4_survives_large_keys():
    state = (np.zeros(1), np.zeros(1), np.full(1, -1e30))
    for k, v in ((900.0, 2.0), (-900.0, 7.0), (0.0, -1.0)):
        state, y = naive.wkv4(state, np.full(1, k), np.full(1, v), np.full(1, -0.1), np.zeros(1))
    np.testing.assert_allclose(y, 2.0)  # the first token outweighs all


@pytest.mark.parametrize("per_head", [False, True])
def test_wkv5_is_a_sum_over_all_tokens_so_far(per_head):
    rng = np.random.default_rng(4)
    r, k, v = rng.normal(0, 1, (3, 9, 6))
    decay, first = rng.uniform(0.3, 1, 6), rng.normal(0, 1, 6)
    if per_head:
        decay, first = decay[:1], first[:1]
    state = np.zeros((6, 6))
    for t in range(9):
        state, y = naive.wkv5(state, r[t], decay, k[t], v[t], first)
        expected = (r[t] * first * k[t]).sum() * v[t]
        for i in range(t):
            expected += (r[t] * decay ** (t - 1 - i) * k[i]).sum() * v[i]
        np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("generation", "kind"), CLASSES.items())
def test_the_generation_is_told_by_the_tensors(generation, kind):
    twin = naive_models.twin(small(generation))
    assert type(twin) is kind
    logits = twin.read([3, 1, 4])
    assert logits.shape == (31,)
    assert logits.dtype == np.float64
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("generation", CLASSES)
def test_all_large_matrices_are_rounded_and_what_they_multiply(generation):
    tensors, seen = small(generation), set()

    def rounded(name, matrix):
        seen.add(name)
        return matrix

    logits = naive_models.twin(tensors, rounded).read([3, 1, 4])
    large = {"att.receptance", "att.key", "att.value", "att.output", "ffn.key", "ffn.value"}
    large |= {"att.gate"} if generation in GATED else set()
    large |= {"ffn.receptance"} if generation != "rwkv7" else set()
    expected = {f"blocks.{layer}.{name}.weight" for layer in range(2) for name in large}
    assert seen == expected | {"head.weight"}
    exact = naive_models.twin(tensors).read([3, 1, 4])
    error = np.abs(logits - exact).max() / np.abs(exact).max()
    assert 1e-4 < error < 0.1


@pytest.mark.parametrize("generation", ["rwkv5.0", "rwkv5.1"])
def test_the_bonus_called_time_first_is_a_logarithm(generation):
    plain, logarithms = {}, {}
    for name, values in small(generation).items():
        prefix, _, last = name.rpartition(".")
        if last in ("time_first", "time_faaaa"):
            plain[f"{prefix}.time_faaaa"] = np.abs(values) + 0.5
            logarithms[f"{prefix}.time_first"] = np.log(np.abs(values) + 0.5)
        else:
            plain[name] = logarithms[name] = values
    ours = naive_models.twin(plain).read([3, 1, 4])
    np.testing.assert_allclose(ours, naive_models.twin(logarithms).read([3, 1, 4]), rtol=1e-5)


def test_a_trained_model(fixtures_dir):
    folder = fixtures_dir / "tiny-rwkv"
    checkpoint = open_checkpoint(folder / "tiny-rwkv-7v0-834K.safetensors")
    tensors = {name: tensor.to_float32() for name, tensor in checkpoint.tensors.items()}
    expected = np.fromfile(folder / "expected-logits-7v0-834K.bin", np.float32)
    logits = naive_models.twin(tensors).read(list(b'"in'))
    np.testing.assert_allclose(logits, expected, atol=1e-5)


@pytest.mark.slow
def test_the_rwkv_package_agrees(tmp_path):
    for package in ("torch", "rwkv", "safetensors.torch"):
        pytest.importorskip(package, reason="the rwkv package needs PyTorch")
    found = compare(sys.executable, tmp_path)
    assert len(found) == 18
    for name, ways in found.items():
        assert set(ways) == {"at_once", "one_by_one"}
        for way, difference in ways.items():
            assert difference["absolute"] < 2e-5, (name, way)
            assert difference["relative"] < 2e-5, (name, way)
