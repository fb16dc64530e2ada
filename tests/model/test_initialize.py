"""Fresh weights have the statistics of the official initialisation."""

import numpy as np
import pytest

from server.model.config import tensor_shapes
from server.model.initialize import design, initialize

LAYERS, DIM, VOCAB, HEAD = 3, 64, 300, 16


@pytest.fixture(scope="module")
def weights():
    return dict(initialize(LAYERS, DIM, VOCAB, 7, HEAD))


def test_official_ranks():
    config = design(12, 768, 65_536)
    ranks = tuple(config.ranks.values())
    assert ranks == (64, 64, 32, 128)  # those of the published 0.1B
    config = design(24, 2048, 65_536)
    ranks = tuple(config.ranks.values())
    assert ranks == (128, 128, 64, 224)
    assert config.ffn_dim == 8192


def test_names_and_shapes(weights):
    shapes = tensor_shapes(design(LAYERS, DIM, VOCAB, HEAD))
    assert {name: array.shape for name, array in weights.items()} == shapes
    assert list(weights) == list(shapes)
    for array in weights.values():
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        assert np.isfinite(array).all()


def test_deterministic(weights):
    again = dict(initialize(LAYERS, DIM, VOCAB, 7, HEAD))
    other = dict(initialize(LAYERS, DIM, VOCAB, 8, HEAD))
    for name, array in weights.items():
        np.testing.assert_array_equal(array, again[name])
    assert not np.array_equal(weights["head.weight"], other["head.weight"])
    first, second = weights["blocks.0.att.key.weight"], weights["blocks.1.att.key.weight"]
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("name", "gain"),
    [
        ("blocks.0.att.receptance.weight", 1.0),
        ("blocks.1.att.key.weight", 0.1),
        ("blocks.2.att.value.weight", 1.0),
        ("blocks.1.ffn.key.weight", 1.0),
        ("head.weight", 0.5 * np.sqrt(VOCAB / DIM)),
        ("blocks.1.att.w2", 0.1),
        ("blocks.1.att.a2", 0.1),
        ("blocks.1.att.v2", 0.1),
        ("blocks.1.att.g2", 0.1),
    ],
)
def test_orthogonal(weights, name, gain):
    matrix = weights[name].astype(np.float64)
    product = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    np.testing.assert_allclose(product, gain**2 * np.eye(len(product)), atol=1e-6)


def test_low_rank_wider_than_the_model():
    up = dict(initialize(1, 8, 16, 0, 4))["blocks.0.att.w2"].astype(np.float64)
    assert up.shape == (32, 8)
    np.testing.assert_allclose(up.T @ up, 0.1**2 * 32 / 8 * np.eye(8), atol=1e-6)


def test_constants(weights):
    for layer in range(LAYERS):
        att = f"blocks.{layer}.att."
        for name in ("att.output.weight", "ffn.value.weight", "att.w1", "att.a1", "att.g1"):
            assert not weights[f"blocks.{layer}.{name}"].any()
        np.testing.assert_allclose(weights[att + "k_a"], 1.02)
        np.testing.assert_allclose(weights[att + "r_k"], -0.04)
        np.testing.assert_allclose(weights[att + "ln_x.weight"], ((layer + 1) / 3) ** 0.7)
        assert not weights[att + "ln_x.bias"].any()
    np.testing.assert_array_equal(weights["blocks.0.ln0.weight"], 1)
    np.testing.assert_array_equal(weights["ln_out.weight"], 1)
    assert not weights["ln_out.bias"].any()
    embedding = weights["emb.weight"]
    assert 0.9e-4 < np.abs(embedding).max() <= 1e-4
    assert abs(embedding.mean()) < 2e-6


def test_curves_against_loops(weights):
    """The official code's loops, channel by channel."""
    for layer in range(LAYERS):
        depth, rest = layer / (LAYERS - 1), 1 - layer / LAYERS
        att = f"blocks.{layer}.att."
        for n in range(DIM):
            zigzag = ((n % HEAD) - (HEAD - 1) / 2) / ((HEAD - 1) / 2)
            zigzag *= abs(zigzag)
            linear = n / (DIM - 1) - 0.5
            expected = {
                "w0": -6 + 6 * (n / (DIM - 1)) ** (1 + depth**0.3) + 0.5 + zigzag * 2.5,
                "a0": -0.19 + zigzag * 0.3 + linear * 0.4,
                "k_k": 0.71 - linear * 0.1,
                "x_r": 1 - (n / DIM) ** (0.2 * rest),
                "x_w": 1 - (n / DIM) ** (0.9 * rest),
                "x_k": 1 - (n / DIM) ** (0.7 * rest),
                "x_v": 1 - (n / DIM) ** (0.7 * rest),
                "x_a": 1 - (n / DIM) ** (0.9 * rest),
                "x_g": 1 - (n / DIM) ** (0.2 * rest),
            }
            if layer:
                expected["v0"] = 0.73 - linear * 0.4
            for name, value in expected.items():
                assert weights[att + name][0, 0, n] == pytest.approx(value, abs=1e-6)
            shift = weights[f"blocks.{layer}.ffn.x_k"][0, 0, n]
            assert shift == pytest.approx(1 - (n / DIM) ** (rest**4), abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((1, 65, 10, 0), "dim 65 is not a multiple of the head size 64"),
        ((1, 0, 10, 0), "multiple"),
        ((0, 64, 10, 0), "at least one layer"),
        ((1, 64, 0, 0), "at least one layer and one token"),
        ((1, 64, 10, -1), "negative"),
        ((1, 64, 10, 0, 1), "head size 1"),
    ],
)
def test_impossible_models(arguments, match):
    with pytest.raises(ValueError, match=match):
        initialize(*arguments)
