import numpy as np
import pytest

from server.checkpoints.checkpoint import bfloat16_to_float32, float32_to_bfloat16
from server.kernels.linear_float import linear_float
from server.kernels.pack import aligned_empty, pack_rows, padded

SHAPES = [(16, 32), (1, 1), (17, 33), (48, 7), (70, 65), (257, 96)]


def packed(weights):
    rows, columns = weights.shape
    result = aligned_empty((padded(rows) // 16, columns, 16), weights.dtype)
    pack_rows(weights, result)
    return result


def multiply(w, x, rows, blocks=None):
    y = np.full((len(x), padded(rows)), np.nan, dtype=np.float32)
    for begin, end in blocks or [(0, len(w))]:
        linear_float(w, x, y, len(x), begin, end)
    return y[:, :rows]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_equals_the_float64_product(dtype, rows, columns):
    rng = np.random.default_rng(rows * columns)
    weights = rng.standard_normal((rows, columns), dtype=np.float32)
    exact = weights
    if dtype == "bfloat16":
        weights = float32_to_bfloat16(weights)
        exact = bfloat16_to_float32(weights)
    for tokens in (1, 2, 3, 5, 8, 13, 70):
        x = rng.standard_normal((tokens, columns), dtype=np.float32)
        expected = x.astype(np.float64) @ exact.T.astype(np.float64)
        np.testing.assert_allclose(multiply(packed(weights), x, rows), expected, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_bits_do_not_depend_on_batch_or_block_range(dtype):
    rng = np.random.default_rng(1)
    rows, columns = 150, 77
    weights = rng.standard_normal((rows, columns), dtype=np.float32)
    w = packed(weights if dtype is np.float32 else float32_to_bfloat16(weights))
    x = rng.standard_normal((31, columns), dtype=np.float32)
    whole = multiply(w, x, rows)
    in_parts = multiply(w, x, rows, blocks=[(0, 1), (1, 4), (4, 9), (9, 10)])
    assert in_parts.tobytes() == whole.tobytes()
    for tokens in range(1, 12):
        assert multiply(w, x[:tokens], rows).tobytes() == whole[:tokens].tobytes()


def test_packing_round_trip():
    weights = np.arange(35 * 6, dtype=np.float32).reshape(35, 6)
    w = packed(weights)
    assert w.ctypes.data % 64 == 0
    unpacked = w.transpose(0, 2, 1).reshape(-1, 6)
    np.testing.assert_array_equal(unpacked[:35], weights)
    assert not unpacked[35:].any()
