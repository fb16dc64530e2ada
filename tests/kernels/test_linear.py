"""Matrix products of every weight type, in every instruction tier."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from llvmlite import ir
from numba import types

from server.checkpoints.checkpoint import bfloat16_to_float32, float32_to_bfloat16
from server.kernels import simd
from server.kernels.isa import TIERS, VARIABLE, available_tiers, choose_target, choose_tier
from server.kernels.jit import TARGET, intrinsic, kernel
from server.kernels.linear import multiply, quantize_row
from server.kernels.matrices import Activations, FloatMatrix, Int4Matrix, Int8Matrix
from server.kernels.pack import aligned_zeros, pack_rows, padded
from server.kernels.quantize import (
    GROUP,
    quantize_int4_blocks,
    quantize_int8_blocks,
)
from server.kernels.simd_dot import OFFSET
from server.kernels.tile import make_tile
from tests.kernels.test_quantize import unpack_int4

DTYPES = ["float32", "bfloat16", "float16", "int8", "int4"]
SHAPES = [(16, 32), (1, 1), (17, 33), (48, 7), (70, 65), (257, 96), (160, 320)]


def pack(weights, dtype):
    """(the matrix as kernels read it, the weights [N, K] that it stands for in float64)."""
    rows, columns = weights.shape
    blocks, groups = padded(rows) // 16, padded(columns, GROUP) // GROUP
    if dtype in ("int8", "int4"):
        return pack_integers(weights, dtype, blocks, groups)
    stored = {
        "float32": weights,
        "float16": weights.astype(np.float16),
        "bfloat16": float32_to_bfloat16(weights),
    }[dtype]
    bits = stored.view(np.int16) if dtype == "float16" else stored
    codes = aligned_zeros((blocks, columns, 16), bits.dtype)
    pack_rows(bits, codes)
    exact = bfloat16_to_float32(stored) if dtype == "bfloat16" else stored
    return FloatMatrix(codes), exact.astype(np.float64)


def pack_integers(weights, dtype, blocks, groups):
    steps = groups * GROUP // (4 if dtype == "int8" else 8)
    codes = aligned_zeros((blocks, steps, 16, 4), np.uint8)
    scales = aligned_zeros((blocks, groups, 16), np.uint16)
    if dtype == "int8":
        quantize_int8_blocks(weights, codes, scales, 0, blocks)
        matrix, exact = Int8Matrix(codes, scales), unpack_int8(codes, scales)
    else:
        quantize_int4_blocks(weights, codes, scales, 0, blocks)
        matrix, exact = Int4Matrix(codes, scales), unpack_int4(codes, scales)
    rows, columns = weights.shape
    return matrix, exact.reshape(blocks * 16, -1)[:rows, :columns]


def unpack_int8(codes, scales):
    """The weights [rows, groups, 32] that codes and scales stand for, of whole blocks, float64."""
    blocks, groups, _ = scales.shape
    values = codes.astype(np.float64) - OFFSET  # [blocks, K / 4, 16, 4]
    values = values.transpose(0, 2, 1, 3).reshape(blocks * 16, groups, GROUP)
    rows = scales.view(np.float16).astype(np.float64).transpose(0, 2, 1)
    return values * rows.reshape(blocks * 16, groups, 1)


def quantize(x):
    """The Activations of inputs [T, K], and the inputs that they stand for in float64."""
    tokens, columns = x.shape
    width = padded(columns, GROUP)
    values = np.zeros((tokens, width), dtype=np.float32)
    values[:, :columns] = x
    codes = np.zeros((tokens, width), dtype=np.int8)
    scales = np.zeros((tokens, width // GROUP), dtype=np.float32)
    sums = np.zeros((tokens, width // GROUP), dtype=np.int32)
    for t in range(tokens):
        quantize_row(values[t], codes[t], scales[t], sums[t], 0, width // GROUP)
    grouped = codes.reshape(*scales.shape, GROUP).astype(np.float64)
    with np.errstate(invalid="ignore"):
        exact = (grouped * scales[:, :, None]).reshape(tokens, width)[:, :columns]
    return Activations(values, codes, scales, sums), exact


def inputs_for(x, dtype):
    return quantize(x) if dtype in ("int8", "int4") else (x, x.astype(np.float64))


def first(x, tokens):
    """The first tokens of what a product reads."""
    if isinstance(x, Activations):
        return Activations(*(array[:tokens] for array in x))
    return x[:tokens]


def run(matrix, x, tokens, rows, ranges=None):
    y = np.full((tokens, padded(rows)), np.nan, dtype=np.float32)
    for begin, end in ranges or [(0, padded(rows) // 16)]:
        multiply(matrix, x, y, tokens, begin, end)
    return y[:, :rows]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_equals_the_float64_product(dtype, rows, columns):
    rng = np.random.default_rng(rows * columns)
    matrix, exact = pack(rng.standard_normal((rows, columns), dtype=np.float32), dtype)
    x, exact_x = inputs_for(rng.standard_normal((70, columns), dtype=np.float32), dtype)
    expected = exact_x @ exact.T
    for tokens in [*range(1, 20), 31, 70]:
        found = run(matrix, first(x, tokens), tokens, rows)
        np.testing.assert_allclose(found, expected[:tokens], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_batch_or_block_range(dtype):
    rng = np.random.default_rng(1)
    matrix, _ = pack(rng.standard_normal((150, 77), dtype=np.float32), dtype)
    x, _ = inputs_for(rng.standard_normal((31, 77), dtype=np.float32), dtype)
    whole = run(matrix, x, 31, 150)
    parts = [(0, 1), (1, 4), (4, 9), (9, 10)]
    assert run(matrix, x, 31, 150, parts).tobytes() == whole.tobytes()
    for tokens in range(1, 31):
        for ranges in (None, parts):
            some = run(matrix, first(x, tokens), tokens, 150, ranges)
            assert some.tobytes() == whole[:tokens].tobytes()


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(("row_blocks", "tokens"), [(1, 1), (4, 1), (2, 3), (1, 4)])
@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_every_tier_gives_the_same_bits(tier, row_blocks, tokens, dtype):
    if tier not in available_tiers():
        pytest.skip(f"this CPU has no {tier}")
    tile = make_tile(row_blocks, tokens, tier)

    @kernel
    def one_tile(w, x, y):
        tile(w, x, y, 0, 0, 0)

    rng = np.random.default_rng(tokens)
    rows = 16 * row_blocks
    matrix, _ = pack(rng.standard_normal((rows, 96), dtype=np.float32), dtype)
    if dtype == "int8":
        matrix.codes.reshape(-1)[:64] = rng.choice([1, 255], 64)  # the largest products there are
    x, _ = quantize(rng.standard_normal((tokens, 96), dtype=np.float32))
    y = np.zeros((tokens, rows), dtype=np.float32)
    one_tile(matrix, x, y)
    assert y.tobytes() == run(matrix, x, tokens, rows).tobytes()


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


def test_only_a_forced_tier_compiles_for_another_cpu():
    best, *lower = available_tiers()
    assert choose_target(best).cpu == ""
    assert all(choose_target(tier).cpu for tier in lower)


@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 70)),
                     elements=st.floats(-(2.0**100), 2.0**100, width=32)))  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_activations_are_off_by_at_most_half_a_step(x):
    found, exact = quantize(x)
    assert (np.abs(found.codes.astype(int)) <= 127).all()
    grouped = found.codes.reshape(*found.scales.shape, GROUP).astype(np.int64)
    np.testing.assert_array_equal(found.sums, -OFFSET * grouped.sum(axis=2))
    steps = found.scales.astype(np.float64).repeat(GROUP, axis=1)[:, : x.shape[1]]
    # Below the smallest normal number a scale has few bits, or none.
    assert (np.abs(exact - x) <= steps * 0.5001 + 1e-36).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_zeros_give_zero(dtype):
    matrix, _ = pack(np.zeros((20, 64), dtype=np.float32), dtype)
    x, _ = inputs_for(np.zeros((3, 64), dtype=np.float32), dtype)
    assert not run(matrix, x, 3, 20).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1e-45, 1e-38, 1e-20, 1e4])
def test_extremes_are_not_made_nan(dtype, size):
    matrix, exact = pack(np.full((16, 64), min(size, 6e4), dtype=np.float32), dtype)
    x, exact_x = inputs_for(np.full((2, 64), size, dtype=np.float32), dtype)
    found = run(matrix, x, 2, 16)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, exact_x @ exact.T, rtol=1e-5, atol=1e-38)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_hidden(dtype, bad):
    matrix, _ = pack(np.ones((16, 64), dtype=np.float32), dtype)
    values = np.ones((2, 64), dtype=np.float32)
    values[1, 40] = bad
    y = run(matrix, inputs_for(values, dtype)[0], 2, 16)
    assert np.isfinite(y[0]).all()
    assert not np.isfinite(y[1]).any()


@pytest.mark.skipif(not TARGET.has_half, reason="this CPU has no instruction for float16")
def test_float16_is_widened_by_arithmetic_as_by_the_instruction(monkeypatch):
    @intrinsic
    def widened(_typing, _bits):
        def codegen(_context, builder, _signature, args):
            monkeypatch.setattr(simd, "TARGET", TARGET._replace(has_half=False))
            return simd.float16_to_float32(builder, builder.bitcast(args[0], ir.HalfType()))

        return types.float32(types.uint16), codegen

    @kernel
    def widen_all(bits, out):
        for i in range(len(bits)):
            out[i] = widened(bits[i])

    bits = np.arange(1 << 16, dtype=np.uint16)
    bits = bits[np.isfinite(bits.view(np.float16))]
    out = np.zeros(len(bits), dtype=np.float32)
    widen_all(bits, out)
    assert out.tobytes() == bits.view(np.float16).astype(np.float32).tobytes()
