import numpy as np
import pytest

from server.kernels.norm import layer_norm
from server.kernels.token_shift import token_shift
from server.kernels.wkv4 import wkv4
from server.kernels.wkv6 import wkv6
from server.kernels.wkv7 import normalize, wkv7
from tests import naive


@pytest.mark.parametrize("size", [1, 5, 16, 20, 64, 100, 768])
def test_layer_norm(size):
    rng = np.random.default_rng(size)
    x, weight, bias = rng.standard_normal((3, size), dtype=np.float32) * 3 + 1
    out = np.empty_like(x)
    layer_norm(x, weight, bias, 1e-5, out)
    expected = naive.layer_norm(*(a.astype(np.float64) for a in (x, weight, bias)), 1e-5)
    np.testing.assert_allclose(out, expected, atol=1e-4)
    layer_norm(x, weight, bias, 1e-5, x)
    assert x.tobytes() == out.tobytes()


def test_layer_norm_of_a_constant_row_is_finite():
    x = np.full(64, 1e4, dtype=np.float32)
    ones = np.ones_like(x)
    layer_norm(x, ones, ones, 1e-5, x)
    np.testing.assert_array_equal(x, ones)


def test_token_shift():
    rng = np.random.default_rng(0)
    x, previous, mix = rng.standard_normal((3, 37), dtype=np.float32)
    out = np.empty_like(x)
    token_shift(x, previous, mix, out)
    np.testing.assert_allclose(out, x + (previous - x) * mix, atol=1e-6)


def test_normalize_has_unit_length_and_survives_zero():
    x = np.array([3, 4], dtype=np.float32)
    normalize(x, x)
    np.testing.assert_allclose(x, [0.6, 0.8], atol=1e-6)
    zero = np.zeros(8, dtype=np.float32)
    normalize(zero, zero)
    assert not zero.any()


@pytest.mark.parametrize("size", [1, 7, 20, 64])
def test_wkv7_over_several_tokens(size):
    rng = np.random.default_rng(size)
    state = np.zeros((size, size), dtype=np.float32)
    twin = np.zeros((size, size))
    for _ in range(50):
        r, k, v, kk = rng.standard_normal((4, size), dtype=np.float32)
        decay, a = rng.uniform(0.55, 1, (2, size)).astype(np.float32)
        normalize(kk, kk)
        y = np.empty(size, dtype=np.float32)
        wkv7(state, r, decay, k, v, kk, a, y)
        wide = [x.astype(np.float64) for x in (r, decay, k, v, kk, a)]
        twin, expected = naive.wkv7(twin, *wide)
        np.testing.assert_allclose(y, expected, atol=1e-3, rtol=1e-4)
    np.testing.assert_allclose(state.T, twin, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [1, 7, 20, 64, 100])
def test_wkv6_over_several_tokens(size):
    rng = np.random.default_rng(size)
    state = np.zeros((size, size), dtype=np.float32)
    twin = np.zeros((size, size))
    for _ in range(50):
        r, k, v, bonus = rng.standard_normal((4, size), dtype=np.float32)
        decay = rng.uniform(0.2, 1, size).astype(np.float32)
        y = np.empty(size, dtype=np.float32)
        wkv6(state, r, decay, k, v, np.float32((r * k * bonus).sum()), y)
        wide = [x.astype(np.float64) for x in (r, decay, k, v, bonus)]
        twin, expected = naive.wkv5(twin, *wide)
        np.testing.assert_allclose(y, expected, atol=1e-3, rtol=1e-4)
    np.testing.assert_allclose(state, twin, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [1, 7, 64, 100])
@pytest.mark.parametrize("spread", [1, 40])
def test_wkv4_over_several_tokens(size, spread):
    rng = np.random.default_rng(size)
    decay = -rng.uniform(0.001, 3, size).astype(np.float32)
    bonus = rng.standard_normal(size, dtype=np.float32)
    state = np.zeros((3, size), dtype=np.float32)
    state[2] = -1e30
    twin = tuple(state.astype(np.float64))
    for _ in range(50):
        k, v = rng.standard_normal((2, size), dtype=np.float32)
        k *= np.float32(spread)  # keys of which the largest outweighs all others by far
        y = np.empty(size, dtype=np.float32)
        wkv4(state, decay, bonus, k, v, y)
        wide = [x.astype(np.float64) for x in (k, v, decay, bonus)]
        twin, expected = naive.wkv4(twin, *wide)
        np.testing.assert_allclose(y, expected, atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(state[0] / state[1], twin[0] / twin[1], atol=1e-4, rtol=1e-4)
