"""Tensors of every ggml type, and tensors derived from them."""

import mmap

import numpy as np
import pytest
from gguf import quants
from gguf.constants import GGMLQuantizationType

from server.checkpoints.checkpoint import NUMPY_DTYPES, float32_to_bfloat16
from server.checkpoints.derived import computed, entries, reshaped, transposed
from server.checkpoints.ggml import (
    DTYPES,
    NUMBERS,
    encode,
    stored_bytes,
    stored_shape,
    type_name,
    view_ggml_tensor,
)
from server.checkpoints.gguf_writer import DTYPES as WRITTEN

BLOCKS = sorted(set(NUMBERS) - set(NUMPY_DTYPES))
FLOATS = ("float32", "float16", "bfloat16")


def mapped(tmp_path, data):
    path = tmp_path / "data"
    path.write_bytes(b"?" + data)  # so that nothing is aligned
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def stored(tmp_path, values, dtype):
    """Values as a tensor of the type, over a file."""
    data = np.ascontiguousarray(encode(values, dtype))
    return view_ggml_tensor(mapped(tmp_path, data.tobytes()), "t", dtype, values.shape, 1)


def test_all_types_are_there():
    assert {"q4_0", "q5_1", "q8_0", "q2_k", "q6_k", "iq1_s", "iq4_xs", "tq1_0"} <= {*BLOCKS}
    assert DTYPES[0] == "float32"
    assert DTYPES[1] == "float16"
    assert DTYPES[30] == "bfloat16"
    assert DTYPES[7] == "q5_1"
    assert 15 not in DTYPES  # Q8_K, which only lives in ggml's memory
    assert type_name(15) == "Q8_K"
    assert type_name(999) == "number 999"


@pytest.mark.parametrize("dtype", BLOCKS)
def test_blocks_decode_as_the_package_does(tmp_path, dtype):
    kind = GGMLQuantizationType(NUMBERS[dtype])
    shape = (5, 512)
    size = stored_bytes(dtype, shape)
    data = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    tensor = view_ggml_tensor(mapped(tmp_path, data.tobytes()), "t", dtype, shape, 1)
    with np.errstate(all="ignore"):
        expected = quants.dequantize(data.reshape(stored_shape(dtype, shape)), kind)
    assert tensor.shape == shape
    assert tensor.nbytes == size
    assert tensor.is_float
    np.testing.assert_array_equal(tensor.to_float32(), expected)
    np.testing.assert_array_equal(tensor.to_float32(slice(1, 4)), expected[1:4])
    assert tensor.to_float32(slice(2, 2)).shape == (0, 512)
    row = view_ggml_tensor(mapped(tmp_path, data.tobytes()), "t", dtype, (512,), 1)
    np.testing.assert_array_equal(row.to_float32(slice(7, 300)), expected[0, 7:300])


@pytest.mark.parametrize("dtype", BLOCKS)
def test_rows_of_other_lengths_have_no_size(tmp_path, dtype):
    assert stored_bytes(dtype, (4, 31)) is None
    assert stored_bytes(dtype, ()) is None
    with pytest.raises(ValueError, match="no blocks"):
        view_ggml_tensor(mapped(tmp_path, bytes(100)), "t", dtype, (4, 31), 1)


@pytest.mark.parametrize("dtype", [dtype for dtype, _ in WRITTEN.values()])
def test_written_types_round_trip(tmp_path, dtype):
    values = np.random.default_rng(1).standard_normal((6, 64)).astype(np.float32)
    tensor = stored(tmp_path, values, dtype)
    assert tensor.nbytes == stored_bytes(dtype, values.shape)
    error = {"float32": 0, "float16": 2e-3, "bfloat16": 1e-2, "q8_0": 2e-2}.get(dtype, 0.3)
    np.testing.assert_allclose(tensor.to_float32(), values, atol=error)


def test_values_beyond_float16_are_refused():
    values = np.array([1e5], np.float32)
    with pytest.raises(ValueError, match="do not fit float16"):
        encode(values, "float16")
    assert encode(values, "bfloat16") == float32_to_bfloat16(values)


@pytest.mark.parametrize("dtype", [*FLOATS, "q8_0"])
def test_derived_tensors(tmp_path, dtype):
    values = np.random.default_rng(2).standard_normal((3, 4, 64)).astype(np.float32)
    tensor = stored(tmp_path, values, dtype)
    values = tensor.to_float32()

    def check(derived, expected, exact=True):
        assert derived.shape == expected.shape
        for rows in (slice(None), slice(1, None), slice(0, 1)):
            found = derived.to_float32(rows)
            assert found.flags.c_contiguous
            assert found.flags.aligned
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected[rows], rtol=0 if exact else 1e-6)

    check(transposed(tensor), values.swapaxes(1, 2))
    check(reshaped(tensor, (12, 64)), values.reshape(12, 64))
    check(reshaped(tensor, (1, 1, 768)), values.reshape(1, 1, 768))
    check(transposed(reshaped(tensor, (12, 64))), values.reshape(12, 64).T)
    check(computed(tensor, np.exp), np.exp(values), exact=False)
    check(computed(transposed(tensor), np.exp), np.exp(values.swapaxes(1, 2)), exact=False)
    for index, part in enumerate(entries(tensor)):
        check(part, values[index])
        assert part.offset == tensor.offset + index * part.nbytes
        for inner, row in enumerate(entries(part)):
            check(row, values[index, inner])
        part.forget()
    # Later code tells by the dtype how data are stored, which is not what is computed of them.
    assert computed(tensor, np.exp).dtype == ("q8_0" if dtype == "q8_0" else "float32")


def test_impossible_derivations(tmp_path):
    tensor = stored(tmp_path, np.ones(6, np.float32), "float32")
    with pytest.raises(ValueError, match="cannot become"):
        reshaped(tensor, (4,))
    with pytest.raises(ValueError, match="cannot be transposed"):
        transposed(tensor)
    with pytest.raises(ValueError, match="cannot be split"):
        entries(tensor)


def test_computed_in_float64(tmp_path):
    tensor = stored(tmp_path, np.full((1, 2), 1 + 2.0**-20, np.float32), "float32")
    seen = []
    computed(tensor, lambda x: seen.append(x.dtype) or x).to_float32()
    assert seen == [np.float64]
