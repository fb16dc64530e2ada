import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from server.kernels.isa import TIERS, VARIABLE, available_tiers, choose_tier
from server.kernels.jit import kernel
from server.kernels.linear_int8 import linear_int8, quantize_row
from server.kernels.pack import aligned_empty, pack_int8, padded
from server.kernels.simd_int8 import GROUP, OFFSET, make_int8_tile

SHAPES = [(16, 32), (1, 1), (17, 33), (48, 7), (70, 65), (257, 96), (160, 320)]


def pack(weights):
    rows, columns = weights.shape
    blocks, groups = padded(rows) // 16, padded(columns, GROUP) // GROUP
    codes = aligned_empty((blocks, groups * GROUP // 4, 16, 4), np.uint8)
    scales = aligned_empty((blocks, groups, 16), np.uint16)
    pack_int8(weights, codes, scales)
    return codes, scales


def unpack(codes, scales, shape):
    """The weights [N, K] that codes and scales stand for, float64."""
    blocks, groups, _ = scales.shape
    signed = codes.transpose(0, 2, 1, 3).reshape(blocks * 16, groups, GROUP).astype(np.float64)
    rows = scales.view(np.float16).transpose(0, 2, 1).reshape(blocks * 16, groups, 1)
    values = (signed - OFFSET) * rows.astype(np.float64)
    return values.reshape(blocks * 16, -1)[: shape[0], : shape[1]]


def quantize(x):
    """Codes, scales and sums of inputs [T, K]."""
    tokens, columns = x.shape
    width = padded(columns, GROUP)
    values = np.zeros((tokens, width), dtype=np.float32)
    values[:, :columns] = x
    codes = np.zeros((tokens, width), dtype=np.int8)
    scales = np.zeros((tokens, width // GROUP), dtype=np.float32)
    sums = np.zeros((tokens, width // GROUP), dtype=np.int32)
    for t in range(tokens):
        quantize_row(values[t], codes[t], scales[t], sums[t])
    return codes, scales, sums


def dequantize(codes, scales, columns):
    grouped = codes.reshape(*scales.shape, GROUP).astype(np.float64)
    return (grouped * scales[:, :, None]).reshape(len(codes), -1)[:, :columns]


def multiply(w, x, rows, blocks=None):
    y = np.full((len(x[0]), padded(rows)), np.nan, dtype=np.float32)
    for begin, end in blocks or [(0, len(w[0]))]:
        linear_int8(*w, *x, y, len(x[0]), begin, end)
    return y[:, :rows]


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_equals_the_float64_product_of_what_the_codes_stand_for(rows, columns):
    rng = np.random.default_rng(rows * columns)
    weights = rng.standard_normal((rows, columns), dtype=np.float32)
    w = pack(weights)
    for tokens in (1, 2, 3, 5, 8, 13, 70):
        x = quantize(rng.standard_normal((tokens, columns), dtype=np.float32))
        expected = dequantize(x[0], x[1], columns) @ unpack(*w, weights.shape).T
        np.testing.assert_allclose(multiply(w, x, rows), expected, atol=1e-4, rtol=1e-5)


def test_bits_do_not_depend_on_batch_or_block_range():
    rng = np.random.default_rng(1)
    w = pack(rng.standard_normal((150, 77), dtype=np.float32))
    x = quantize(rng.standard_normal((31, 77), dtype=np.float32))
    whole = multiply(w, x, 150)
    parts = [(0, 1), (1, 4), (4, 9), (9, 10)]
    assert multiply(w, x, 150, parts).tobytes() == whole.tobytes()
    for tokens in range(1, 12):
        some = multiply(w, tuple(part[:tokens] for part in x), 150, parts)
        assert some.tobytes() == whole[:tokens].tobytes()


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(("row_blocks", "tokens"), [(1, 1), (4, 1), (2, 2), (2, 8)])
def test_every_tier_gives_the_same_bits(tier, row_blocks, tokens):
    if tier not in available_tiers():
        pytest.skip(f"this CPU has no {tier}")
    tile = make_int8_tile(row_blocks, tokens, tier)

    @kernel
    def run(codes, w_scales, x_codes, x_scales, x_sums, y):
        groups = w_scales.shape[1]
        tile(
            groups, codes.ctypes.data, w_scales.ctypes.data, x_codes.ctypes.data,
            x_scales.ctypes.data, x_sums.ctypes.data, groups, y.ctypes.data, y.shape[1],
        )  # fmt: skip

    rng = np.random.default_rng(tokens)
    w = pack(rng.standard_normal((16 * row_blocks, 96), dtype=np.float32))
    w[0].reshape(-1)[:64] = rng.choice([1, 255], 64)  # the largest products there are
    x = quantize(rng.standard_normal((tokens, 96), dtype=np.float32))
    y = np.zeros((tokens, 16 * row_blocks), dtype=np.float32)
    run(*w, *x, y)
    assert y.tobytes() == multiply(w, x, 16 * row_blocks).tobytes()


def test_a_tier_can_be_forced_but_not_invented(monkeypatch, capsys):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert choose_tier() == available_tiers()[0]
    monkeypatch.setenv(VARIABLE, "portable")
    assert choose_tier() == "portable"
    monkeypatch.setenv(VARIABLE, "avx1024")
    with pytest.raises(SystemExit) as caught:
        choose_tier()
    assert caught.value.code == 2
    assert "RWKV_ISA=avx1024" in capsys.readouterr().err


reasonable = st.floats(-6e4, 6e4, width=32)


@given(
    arrays.arrays(
        np.float32, st.tuples(st.integers(1, 40), st.integers(1, 70)), elements=reasonable
    )
)
@settings(max_examples=100, deadline=None)
def test_weights_are_off_by_at_most_half_a_step(weights):
    w = pack(weights)
    found = unpack(*w, weights.shape)
    padded_weights = np.zeros((len(weights), padded(weights.shape[1], GROUP)))
    padded_weights[:, : weights.shape[1]] = np.abs(weights)
    largest = padded_weights.reshape(len(weights), -1, GROUP).max(axis=2).repeat(GROUP, axis=1)
    # float16 holds a scale to 1 in 2048, or to 3e-8 below 6e-5; what is smaller still is zero.
    step = largest[:, : weights.shape[1]] / 127 * (1 + 1 / 2048) + 6e-8
    assert (np.abs(found - weights) <= step * 0.501 + 127 * 6e-8).all()


@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 70)),
                     elements=st.floats(-(2.0**100), 2.0**100, width=32)))  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_activations_are_off_by_at_most_half_a_step(x):
    codes, scales, sums = quantize(x)
    assert (np.abs(codes.astype(int)) <= 127).all()
    grouped = codes.reshape(*scales.shape, GROUP).astype(np.int64)
    np.testing.assert_array_equal(sums, -OFFSET * grouped.sum(axis=2))
    steps = scales.astype(np.float64).repeat(GROUP, axis=1)[:, : x.shape[1]]
    error = np.abs(dequantize(codes, scales, x.shape[1]) - x)
    # Below the smallest normal number a scale has few bits, or none.
    assert (error <= steps * 0.5001 + 1e-36).all()


def test_zero_groups_are_zero():
    w = pack(np.zeros((20, 64), dtype=np.float32))
    x = quantize(np.zeros((3, 64), dtype=np.float32))
    assert not multiply(w, x, 20).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_hidden(bad):
    w = pack(np.ones((16, 64), dtype=np.float32))
    values = np.ones((2, 64), dtype=np.float32)
    values[1, 40] = bad
    y = multiply(w, quantize(values), 16)
    assert np.isfinite(y[0]).all()
    assert not np.isfinite(y[1]).any()
