"""What only RWKV-7's official initialisation has."""

import hashlib
import math

import numpy as np
import pytest

from server.model.initialize import design, initialize
from tests.model.test_initialize import DIM, HEAD, LAYERS, assert_orthogonal, fresh


@pytest.fixture(scope="module")
def rwkv7():
    return fresh("rwkv7")


@pytest.mark.parametrize("name", ["w2", "a2", "v2", "g2"])
def test_low_rank_of_rwkv7_is_orthogonal(rwkv7, name):
    assert_orthogonal(rwkv7[f"blocks.1.att.{name}"], 0.1)


def test_low_rank_wider_than_the_model():
    up = dict(initialize(design("rwkv7", 1, 8, 16, 4), 0))["blocks.0.att.w2"]
    assert up.shape == (32, 8)
    assert_orthogonal(up, 0.1 * math.sqrt(32 / 8))


def test_constants_of_rwkv7(rwkv7):
    for layer in range(LAYERS):
        att = f"blocks.{layer}.att."
        for name in ("w1", "a1", "g1"):
            assert not rwkv7[att + name].any()
        np.testing.assert_allclose(rwkv7[att + "k_a"], 1.02)
        np.testing.assert_allclose(rwkv7[att + "r_k"], -0.04)


def test_curves_of_rwkv7_against_loops(rwkv7):
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
                assert rwkv7[att + name][0, 0, n] == pytest.approx(value, abs=1e-6)
            shift = rwkv7[f"blocks.{layer}.ffn.x_k"][0, 0, n]
            assert shift == pytest.approx(1 - (n / DIM) ** (rest**4), abs=1e-6)


def test_the_uniform_and_constant_bytes_of_rwkv7_stay(rwkv7):
    """What goes through no library for linear algebra is the same on every machine."""
    digest = hashlib.sha256()
    for name in ("emb.weight", "blocks.1.att.a1", "blocks.1.att.k_a", "blocks.2.att.ln_x.bias"):
        digest.update(rwkv7[name].tobytes())
    assert digest.hexdigest().startswith("32c976c8fdfbec7b")
