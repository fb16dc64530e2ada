import numpy as np
import pytest

from server.kernels.activation import exp, sigmoid, tanh
from server.kernels.jit import kernel
from tests import naive


@kernel
def _exp(x, out):
    for i in range(x.shape[0]):
        out[i] = exp(x[i])


@kernel
def _sigmoid(x, out):
    for i in range(x.shape[0]):
        out[i] = sigmoid(x[i])


@kernel
def _tanh(x, out):
    for i in range(x.shape[0]):
        out[i] = tanh(x[i])


def apply(function, x):
    out = np.empty_like(x)
    function(x, out)
    return out


def test_exp_is_exact_to_float32():
    x = np.linspace(-87, 88, 200_001, dtype=np.float32)
    np.testing.assert_allclose(apply(_exp, x), np.exp(x.astype(np.float64)), rtol=2e-7)


def test_exp_beyond_its_range():
    found = apply(_exp, np.array([-np.inf, -1e30, 0, 1e30, np.inf, np.nan], dtype=np.float32))
    assert found[0] == found[1] < 1e-37
    assert found[2] == 1
    assert 1e38 < found[3] == found[4] < np.inf
    assert np.isnan(found[5])


def test_sigmoid_and_tanh():
    x = np.linspace(-100, 100, 100_001, dtype=np.float32)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(apply(_sigmoid, x), naive.sigmoid(wide), atol=2e-7)
    np.testing.assert_allclose(apply(_tanh, x), np.tanh(wide), atol=3e-7)
    assert apply(_tanh, np.zeros(1, dtype=np.float32))[0] == 0


@pytest.mark.parametrize("function", [_exp, _sigmoid, _tanh])
def test_the_same_bits_in_vectors_and_alone(function):
    x = (np.random.default_rng(0).standard_normal(1003) * 9).astype(np.float32)
    whole = apply(function, x)
    alone = np.concatenate([apply(function, x[i : i + 1]) for i in range(len(x))])
    assert whole.tobytes() == alone.tobytes()
