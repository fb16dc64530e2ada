import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from server.checkpoints.checkpoint import bfloat16_to_float32, float32_to_bfloat16
from server.kernels.int4 import INT4_VALUES
from server.kernels.jit import TARGET
from server.kernels.quantize import quantize_int4_blocks, quantize_int8_blocks
from server.kernels.simd import GROUP

SHAPES = [(16, 32), (1, 1), (17, 33), (48, 7), (70, 65), (257, 96), (160, 320)]
VALUES = np.array(INT4_VALUES, dtype=np.float64)
LARGEST_HALF = 65504.0


def quantize(weights, bits, ranges=None):
    """Codes and scales of weights [N, K], computed in the given ranges of blocks."""
    weights = np.ascontiguousarray(weights, dtype=np.float32)
    blocks, groups = -(-weights.shape[0] // 16), -(-weights.shape[1] // GROUP)
    codes = np.full((blocks, groups * bits, 16, 4), 0xAA, dtype=np.uint8)
    scales = np.full((blocks, groups, 16), 0x7E00, dtype=np.uint16)  # NaN
    for begin, end in ranges or [(0, blocks)]:
        if bits == 8:
            quantize_int8_blocks(weights, codes, scales, begin, end)
        else:
            quantize_int4_blocks(weights, codes, scales, begin, end)
    return codes, scales


def unpack_int4(codes, scales):
    """The weights [rows, groups, 32] that codes and scales stand for, of whole blocks, float64."""
    blocks, groups, _ = scales.shape
    pairs = np.stack([codes & 15, codes >> 4], axis=2)  # [blocks, steps, 2, 16, 4]
    numbers = pairs.transpose(0, 3, 1, 2, 4).reshape(blocks * 16, groups, GROUP)
    rows = scales.view(np.float16).astype(np.float64).transpose(0, 2, 1)
    return VALUES[numbers] * rows.reshape(blocks * 16, groups, 1)


def grouped(weights):
    """[N, K] → [whole blocks of rows, groups, 32] float64, zero where there is no weight."""
    rows, columns = weights.shape
    padding = [(0, -rows % 16), (0, -columns % GROUP)]
    return np.pad(weights.astype(np.float64), padding).reshape(rows + padding[0][1], -1, GROUP)


def as_half(scales):
    with np.errstate(over="ignore"):
        halves = scales.astype(np.float16).astype(np.float64)
    return np.clip(halves, -LARGEST_HALF, LARGEST_HALF)


def nearest(groups, scales):
    """The multiples of the scales [..., 1] by INT4_VALUES that are nearest to groups [..., 32]."""
    scaled = np.divide(groups, scales, out=np.zeros_like(groups), where=scales != 0)
    return VALUES[np.abs(scaled[..., None] - VALUES).argmin(-1)]


def rounded_int4(groups, targets=(-127,)):
    """The best of what several targets of the largest magnitude lead to; one is not searched."""
    peaks = np.take_along_axis(groups, np.abs(groups).argmax(-1)[..., None], -1)
    best, least = np.zeros_like(groups), (groups**2).sum(-1, keepdims=True)
    for target in targets:
        scales = as_half(peaks / target)
        values = nearest(groups, scales)
        if len(targets) > 1:
            squares = (values**2).sum(-1, keepdims=True)
            products = (values * groups).sum(-1, keepdims=True)
            scales = as_half(np.divide(products, squares, out=scales, where=squares > 0))
            values = nearest(groups, scales)
        errors = ((values * scales - groups) ** 2).sum(-1, keepdims=True)
        best, least = np.where(errors < least, values * scales, best), np.minimum(errors, least)
    return best


def expected_int8(weights):
    """Codes [rows, groups, 32] and scales [rows, groups], by NumPy's own rounding."""
    groups = np.float32(grouped(weights))
    with np.errstate(over="ignore"):
        halves = (np.abs(groups).max(axis=2) / np.float32(127)).astype(np.float16)
    halves = np.minimum(halves, np.float16(LARGEST_HALF))
    divisors = np.where(halves == 0, np.inf, halves).astype(np.float32)
    numbers = np.clip(np.rint(groups / divisors[:, :, None]), -127, 127)
    return (numbers + 128).astype(np.uint8), halves.view(np.uint16)


def assert_is_expected_int8(weights):
    codes, scales = quantize(weights, 8)
    blocks, groups, _ = scales.shape
    numbers, halves = expected_int8(weights)
    found = codes.transpose(0, 2, 1, 3).reshape(blocks * 16, groups, GROUP)
    np.testing.assert_array_equal(found, numbers)
    np.testing.assert_array_equal(scales.transpose(0, 2, 1).reshape(blocks * 16, groups), halves)


def errors_of(weights):
    """Squared errors [rows, groups]: found, without a search, and of all zeros."""
    groups = grouped(weights)
    found = unpack_int4(*quantize(weights, 4))
    assert np.isfinite(found).all()
    candidates = found, rounded_int4(groups), np.zeros_like(groups)
    return [((some - groups) ** 2).sum(-1) for some in candidates]


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
@pytest.mark.parametrize("size", [1e-9, 3e-6, 1e-3, 1, 1e5, 1e9, 1e37])
def test_int8_is_what_numpy_rounds_to(rows, columns, size):
    rng = np.random.default_rng(rows * columns)
    assert_is_expected_int8(np.float32(size * rng.standard_normal((rows, columns))))


def test_int8_scales_of_every_float16_and_its_neighbours():
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    between = (halves[1:] + halves[:-1]) / 2  # ties
    scales = np.concatenate([halves, between])
    scales = np.concatenate([scales, np.nextafter(scales, np.float32(np.inf))])
    weights = np.zeros((len(scales), GROUP), dtype=np.float32)
    weights[:, 5] = scales * np.float32(127)
    weights[:, 9] = -scales * np.float32(63.5)
    assert_is_expected_int8(weights)


@pytest.mark.parametrize("bits", [4, 8])
def test_bits_do_not_depend_on_the_range_of_blocks_or_on_other_rows(bits):
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((150, 77))
    whole = quantize(weights, bits)
    parts = quantize(weights, bits, [(4, 9), (0, 1), (9, 10), (1, 4)])
    assert [a.tobytes() for a in parts] == [a.tobytes() for a in whole]
    codes, scales = quantize(weights[83:84], bits)
    np.testing.assert_array_equal(codes[0, :, 0], whole[0][83 // 16, :, 83 % 16])
    np.testing.assert_array_equal(scales[0, :, 0], whole[1][83 // 16, :, 83 % 16])


@pytest.mark.parametrize("bits", [4, 8])
def test_blocks_outside_the_range_are_left_alone(bits):
    codes, scales = quantize(np.ones((48, 40)), bits, ranges=[(1, 2)])
    assert (codes[[0, 2]] == 0xAA).all()
    assert (scales[[0, 2]] == 0x7E00).all()


def test_int4_codes_lie_where_the_kernel_reads_them():
    numbers = (np.arange(17 * 40).reshape(17, 40) * 7) % 16
    numbers[:, ::32] = 0  # the largest magnitude of each group
    codes, scales = quantize(VALUES[numbers] / 128, 4)
    assert (scales.view(np.float16)[0] == 1 / 128).all()
    for row, column in [(0, 0), (3, 1), (3, 5), (15, 31), (16, 34), (16, 39)]:
        pair = codes[row // 16, column // 8, row % 16, column % 4]
        assert pair >> 4 * (column % 8 // 4) & 15 == numbers[row, column]
    found = unpack_int4(codes, scales)
    np.testing.assert_array_equal(found, grouped(VALUES[numbers] / 128))


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_int4_is_better_than_rounding_in_every_group(rows, columns):
    weights = np.float32(np.random.default_rng(rows + columns).standard_normal((rows, columns)))
    found, unsearched, zeros = errors_of(weights)
    assert (found <= unsearched * 1.0001 + zeros * 4e-6).all()


def test_int4_is_nearly_as_good_as_a_fine_search():
    rng = np.random.default_rng(4)
    targets = [sign * target for sign in (-1, 1) for target in np.linspace(85, 150, 40)]
    for weights, tolerance in (
        (rng.standard_normal((160, 320)), 1.01),
        (rng.laplace(size=(160, 320)), 1.01),
        (rng.uniform(-3e-3, 3e-3, (160, 320)), 1.03),
    ):
        weights = np.float32(weights)
        groups = grouped(weights)
        fine = ((rounded_int4(groups, targets) - groups) ** 2).sum()
        assert fine * 0.999 < errors_of(weights)[0].sum() < fine * tolerance


def test_int4_is_better_than_equal_steps():
    groups = np.random.default_rng(2).standard_normal((640, 32))
    peaks = np.take_along_axis(groups, np.abs(groups).argmax(-1)[:, None], -1)
    equal = np.clip(np.rint(groups / (peaks / -8)), -8, 7) * (peaks / -8)
    assert errors_of(groups)[0].sum() < 0.75 * ((equal - groups) ** 2).sum()


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("size", [0.0, 1e-45, 1e-38, 1e-7])
def test_what_is_too_small_for_a_scale_is_zero(bits, size):
    codes, scales = quantize(np.full((20, 40), -size), bits)
    assert not scales.any()
    assert (codes == (0x88 if bits == 4 else 0x80)).all()
    assert INT4_VALUES[8] == 0


def test_missing_rows_and_inputs_are_zero():
    codes, scales = quantize(np.ones((17, 33)), 8)
    numbers = codes.transpose(0, 2, 1, 3).reshape(32, 64)
    assert (numbers[17:] == 128).all()
    assert (numbers[:, 33:] == 128).all()
    assert not scales[1, :, 1:].any()
    codes, scales = quantize(np.ones((17, 33)), 4)
    found = unpack_int4(codes, scales).reshape(32, 64)
    assert not found[17:].any()
    assert not found[:, 33:].any()
    assert not scales[1, :, 1:].any()


@pytest.mark.parametrize("bits", [4, 8])
def test_the_largest_numbers_give_the_largest_scale(bits):
    weights = np.full((16, 32), 3.4e38)
    weights[:, ::3] = -3.4e38
    _, scales = quantize(weights, bits)
    assert (np.abs(scales.view(np.float16)) == LARGEST_HALF).all()
    found = unpack_int4(*quantize(weights, 4))
    np.testing.assert_array_equal(np.sign(found), np.sign(grouped(weights)))


def int4_as_at_first(weights):
    """Codes and scales as the first kernel computed them, in float32 and in its order of sums.

    Whatever computes them faster must give the same bits: packed files, fingerprints and stored
    states depend on them.
    """
    single, values = np.float32, np.float32(INT4_VALUES)
    limits = (values[1:] + values[:-1]) / single(2)
    groups = np.float32(grouped(weights))  # [rows, groups, 32]
    peaks = np.take_along_axis(groups, np.abs(groups).argmax(-1)[..., None], -1)[..., 0]
    largest = np.where(peaks != 0, peaks, single(1))
    x = groups / largest[..., None]

    def half_of(numbers):
        halves = np.clip(numbers, -single(LARGEST_HALF), single(LARGEST_HALF)).astype(np.float16)
        return halves.astype(single) + single(0)  # no negative zero

    def inverse_of(scale):
        return np.divide(largest, scale, out=np.zeros_like(largest), where=scale != 0)

    def codes_of(scaled):
        return (scaled[..., None] > limits).sum(-1)

    scales, gains = np.zeros_like(largest), np.zeros_like(largest)
    for target in (-140, -134, -127, -120, -100, 98, 104, 110):
        inverse = inverse_of(half_of(largest / single(target)))
        products, squares = np.zeros_like(largest), np.zeros_like(largest)
        for i in range(GROUP):
            value = values[codes_of(x[..., i] * inverse)]
            products = products + value * x[..., i]
            squares = squares + value * value
        best = np.divide(products, squares, out=np.zeros_like(products), where=squares > 0)
        scale = half_of(largest * best)
        ratio = scale / largest
        gain = ratio * (single(2) * products - ratio * squares)
        scales, gains = np.where(gain > gains, scale, scales), np.maximum(gain, gains)
    codes = codes_of(x * inverse_of(scales)[..., None])
    return codes, scales.astype(np.float16).view(np.uint16)


def assert_is_int4_as_at_first(weights):
    with np.errstate(all="ignore"):
        numbers, halves = int4_as_at_first(weights)
    codes, scales = quantize(weights, 4)
    blocks, groups, _ = scales.shape
    np.testing.assert_array_equal(scales.transpose(0, 2, 1).reshape(blocks * 16, groups), halves)
    pairs = np.stack([codes & 15, codes >> 4], axis=2)
    found = pairs.transpose(0, 3, 1, 2, 4).reshape(blocks * 16, groups, GROUP)
    np.testing.assert_array_equal(found, numbers)


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
@pytest.mark.parametrize("size", [1e-45, 1e-38, 1e-9, 3e-6, 1e-3, 1, 1e5, 1e9, 1e37])
@pytest.mark.parametrize("kind", ["normal", "laplace", "integers", "bits"])
def test_int4_has_the_bits_that_it_had_at_first(rows, columns, size, kind):
    rng = np.random.default_rng(rows * columns)
    shape = rows, columns
    if kind == "integers":  # many that are halfway between two values
        weights = rng.integers(-254, 205, shape) * 0.5 * size
    elif kind == "bits":
        weights = rng.integers(0, 1 << 32, shape, dtype=np.uint32).view(np.float32)
        weights = np.where(np.isfinite(weights), weights, np.float32(size))
    else:
        weights = getattr(rng, kind)(0, size, shape)
    assert_is_int4_as_at_first(np.float32(np.clip(weights, -3.4e38, 3.4e38)))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_of_16_bits_are_read_as_they_are(bits, dtype):
    if dtype == "float16" and not TARGET.has_half:
        pytest.skip("such a CPU gets them as float32")
    rng = np.random.default_rng(2)
    weights = rng.standard_normal((37, 70), np.float32)
    if dtype == "float16":
        stored = weights.astype(np.float16)
        weights, stored = stored.astype(np.float32), stored.view(np.int16)
    else:
        stored = float32_to_bfloat16(weights)
        weights = bfloat16_to_float32(stored)
    expected = quantize(weights, bits)
    codes, scales = (np.zeros_like(array) for array in expected)
    kernel = quantize_int8_blocks if bits == 8 else quantize_int4_blocks
    peak = kernel(stored, codes, scales, 0, len(codes))
    assert np.int32(peak).view(np.float32) == np.abs(weights).max()
    assert (codes.tobytes(), scales.tobytes()) == tuple(array.tobytes() for array in expected)


@pytest.mark.parametrize("wrong", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0), (16, 32), (5, 69), (36, 69)])
def test_the_peak_tells_what_is_not_finite(wrong, place):
    weights = np.float32(np.random.default_rng(2).standard_normal((37, 70)))
    weights[place] = wrong
    for kernel, bits in ((quantize_int4_blocks, 4), (quantize_int8_blocks, 8)):
        codes = np.zeros((3, 3 * bits, 16, 4), np.uint8)
        peak = kernel(weights, codes, np.zeros((3, 3, 16), np.uint16), 0, 3)
        assert not np.int32(peak).view(np.float32) < np.inf


any_finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
matrices = st.tuples(st.integers(1, 20), st.integers(1, 70)).flatmap(
    lambda shape: st.one_of(
        arrays.arrays(np.float32, shape, elements=any_finite),
        arrays.arrays(np.float32, shape, elements=st.floats(-10, 10, width=32)),
        arrays.arrays(np.float32, shape, elements=st.floats(-(2.0**-14), 2.0**-14, width=32)),
    )
)


@given(matrices)
@example(np.full((1, 32), 1e-45, dtype=np.float32))
@settings(max_examples=150, deadline=None)
def test_int8_is_what_numpy_rounds_to_for_all_numbers(weights):
    assert_is_expected_int8(weights)


@given(matrices)
@settings(max_examples=100, deadline=None)
def test_int4_has_the_bits_that_it_had_at_first_for_all_numbers(weights):
    assert_is_int4_as_at_first(weights)


@given(matrices)
@example(np.full((1, 32), 2.0**-20, dtype=np.float32))
@settings(max_examples=150, deadline=None)
def test_int4_is_never_worse_than_rounding(weights):
    found, unsearched, zeros = errors_of(weights)
    # Errors are compared as differences from all zeros, in float32.
    assert (found <= unsearched * 1.0001 + zeros * 4e-6).all()
    assert (found <= zeros).all()
