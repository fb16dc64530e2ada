"""Random weights of a real model's shape, made packed: anybody can measure without a download."""

import math
from typing import Any

import numpy as np

from server.checkpoints.checkpoint import NUMPY_DTYPES, float32_to_bfloat16
from server.kernels.pack import aligned_zeros
from server.model.config import ModelConfig
from server.model.initialize import SHAPES, design
from server.model.layout import Part, parts_of
from server.model.loading import build_weights, layout_of
from server.model.packing import Storage, storage_of

VOCABULARY = 65_536
_PIECE = 1 << 20
_SPREAD_OF_CODES = 70.0
# Without these some value would grow with every token, or be none.
_SENSIBLE = {
    "norm_weight": 1.0,
    "block_norm_weight": 1.0,
    "group_norm_weight": 1.0,
    "group_norm_epsilon": 64e-5,
    "deep_base": 1.0,
    "decay": 0.9,
}


def random_weights(
    shape: str, generation: str, dtype: str, head_size: int = 64, stored: str = "bfloat16"
) -> tuple[ModelConfig, Any]:
    """A model of a generation with weights of a useful size, as from a checkpoint stored as that.

    The bytes of large arrays repeat every few megabytes, which changes nothing of the time.
    """
    config, parts = _parts(shape, generation, dtype, head_size, stored)
    layout = layout_of(parts)
    rng, dim = np.random.default_rng(0), config.dim
    arrays = {n: aligned_zeros(shape, NUMPY_DTYPES[kind]) for n, (kind, shape) in layout.items()}
    scale = np.float16(1 / (_SPREAD_OF_CODES * math.sqrt(dim)))
    for name, array in arrays.items():
        if name.endswith(".scales"):
            array[...] = scale.view(np.uint16)
        else:
            _fill(array, rng, 1 / math.sqrt(dim))
    for name, value in _SENSIBLE.items():
        if name in arrays:
            arrays[name][...] = value
    if generation == "rwkv4":
        arrays["decay"][...] = -0.1
    return config, build_weights(config, parts, arrays)


def weights_bytes(
    shape: str, generation: str, dtype: str, head_size: int = 64, stored: str = "bfloat16"
) -> int:
    """How much memory random_weights() takes."""
    layout = layout_of(_parts(shape, generation, dtype, head_size, stored)[1])
    return sum(math.prod(shape) * NUMPY_DTYPES[kind].itemsize for kind, shape in layout.values())


def _parts(
    shape: str, generation: str, dtype: str, head_size: int, stored: str
) -> tuple[ModelConfig, list[tuple[Part, Storage]]]:
    layers, dim = SHAPES[shape]
    config = design(generation, layers, dim, VOCABULARY, head_size)
    parts = [(part, storage_of(part, dtype, lambda _: stored)) for part in parts_of(config)]
    return config, parts


def _fill(array: Any, rng: np.random.Generator, spread: float) -> None:
    piece: Any
    if array.dtype == np.uint8:
        piece = rng.integers(1, 256, _PIECE).astype(np.uint8)
    else:
        piece = rng.standard_normal(_PIECE, dtype=np.float32) * np.float32(spread)
        if array.dtype == np.uint16:
            piece = float32_to_bfloat16(piece)
        elif array.dtype == np.int16:
            piece = piece.astype(np.float16).view(np.int16)
    flat = array.reshape(-1)
    for start in range(0, len(flat), _PIECE):
        part = flat[start : start + _PIECE]
        part[:] = piece[: len(part)]
