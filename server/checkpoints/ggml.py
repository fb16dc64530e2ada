"""The types of ggml, which rwkv.cpp's files and GGUF share: sizes, decoding, encoding.

What is in a block of which type is known to the `gguf` package, whose names and sizes are used.
"""

from functools import partial
from math import prod
from mmap import mmap
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from server.checkpoints.checkpoint import (
    NUMPY_DTYPES,
    Tensor,
    float32_to_bfloat16,
    view_tensor,
)

_PLAIN = {
    GGMLQuantizationType.F32: "float32",
    GGMLQuantizationType.F16: "float16",
    GGMLQuantizationType.BF16: "bfloat16",
    GGMLQuantizationType.F64: "float64",
    GGMLQuantizationType.I8: "int8",
    GGMLQuantizationType.I16: "int16",
    GGMLQuantizationType.I32: "int32",
    GGMLQuantizationType.I64: "int64",
}
# The package has one class for each type that it can decode.
_BLOCKS = {
    kind.name.lower(): kind
    for kind in GGMLQuantizationType
    if kind not in _PLAIN and hasattr(quants, kind.name)
}

DTYPES: dict[int, str] = {int(kind): dtype for kind, dtype in _PLAIN.items()} | {
    int(kind): name for name, kind in _BLOCKS.items()
}
"""ggml's number of a type → our dtype: a key of NUMPY_DTYPES, or ggml's name such as "q5_1"."""

NUMBERS = {dtype: number for number, dtype in DTYPES.items()}
"""The reverse of DTYPES."""

_LARGEST_FLOAT16 = 65504.0


def type_name(number: int) -> str:
    """ggml's name of a type for messages, whether it can be read or not."""
    try:
        return GGMLQuantizationType(number).name
    except ValueError:
        return f"number {number}"


def stored_shape(dtype: str, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """[*shape], or [*shape[:-1], bytes of a row] of blocks; None if no blocks make such a row."""
    if dtype not in _BLOCKS:
        return shape
    values, size = GGML_QUANT_SIZES[_BLOCKS[dtype]]
    if not shape or shape[-1] % values:
        return None
    return (*shape[:-1], shape[-1] // values * size)


def stored_bytes(dtype: str, shape: tuple[int, ...]) -> int | None:
    """Size in a file; None if no blocks make such a row."""
    stored = stored_shape(dtype, shape)
    if stored is None:
        return None
    return prod(stored) * (1 if dtype in _BLOCKS else NUMPY_DTYPES[dtype].itemsize)


def view_ggml_tensor(
    mapped: mmap, name: str, dtype: str, shape: tuple[int, ...], offset: int
) -> Tensor:
    """A tensor over bytes from `offset`; the caller has checked its type, shape and place."""
    stored = stored_shape(dtype, shape)
    if stored is None:
        raise ValueError(f"{name}: no blocks of {dtype} make rows of {shape}")
    if dtype not in _BLOCKS:
        return view_tensor(mapped, name, dtype, shape, offset)
    data = np.ndarray(stored, np.uint8, buffer=mapped, offset=offset)
    decode = partial(_decode, _BLOCKS[dtype])
    return Tensor(name, dtype, shape, data, mapped, offset, decode, whole=len(shape) == 1)


def encode(values: npt.NDArray[np.float32], dtype: str) -> npt.NDArray[np.generic]:
    """Values as they are stored: [*shape] of a plain type, or [*shape[:-1], bytes] of blocks.

    Raises ValueError for values beyond float16, and NotImplementedError for block types that the
    package only decodes.
    """
    if dtype in _BLOCKS:
        blocks: npt.NDArray[np.generic] = quants.quantize(values, _BLOCKS[dtype])
        return blocks
    if dtype == "bfloat16":
        return float32_to_bfloat16(np.ascontiguousarray(values))
    largest = np.abs(values).max(initial=0)
    if dtype == "float16" and _LARGEST_FLOAT16 < largest < np.inf:
        raise ValueError(f"values up to {largest:.3g} do not fit float16")
    return values.astype(NUMPY_DTYPES[dtype], copy=False)


def _decode(kind: GGMLQuantizationType, data: npt.NDArray[np.generic]) -> npt.NDArray[Any]:
    if not data.size:  # which some of the package's classes cannot reshape
        values, size = GGML_QUANT_SIZES[kind]
        return np.empty((*data.shape[:-1], data.shape[-1] // size * values), np.float32)
    with np.errstate(all="ignore"):  # scales of a hostile file may be NaN or infinite
        return quants.dequantize(data, kind)
