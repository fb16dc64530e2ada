"""As what each tensor is written."""

import re
from collections.abc import Iterator

import numpy as np

from server.checkpoints.checkpoint import Checkpoint, CheckpointError, Tensor, tensor_error
from server.checkpoints.ggml import encode
from server.checkpoints.gguf_writer import DTYPES as GGUF_DTYPES
from server.checkpoints.writer import Array
from server.convert.destination import Format
from server.model.config import ModelConfig
from server.model.tensors import fields_of

AS_STORED = "auto"
PLAIN = ("float32", "float16", "bfloat16")
PACKED = ("float32", "bfloat16", "int8", "int4")

PIECE_VALUES = 1 << 22
"""Of a matrix that are in memory at once."""

_LARGEST_BFLOAT16 = 3.389e38
_GGUF_NAMES = {stored: name for name, (stored, _) in GGUF_DTYPES.items()}
_LAYER = re.compile(r"^blocks\.\d+\.")


def choose_dtype_of(format: Format, wanted: str, config: ModelConfig) -> str:
    """The dtype by the format's own name; AS_STORED where each tensor keeps its own.

    Raises CheckpointError for one that the format has not.
    """
    if format == "packed":
        allowed: tuple[str, ...] = PACKED
    elif format == "gguf":
        allowed = tuple(GGUF_DTYPES)
        wanted = _GGUF_NAMES.get(wanted, wanted)
        if wanted == AS_STORED:  # blocks are decoded: to quantise twice would lose twice
            wanted = _GGUF_NAMES[config.stored_dtype if config.stored_dtype in PLAIN else PLAIN[0]]
    else:
        allowed = PLAIN
        wanted = GGUF_DTYPES[wanted][0] if wanted in GGUF_DTYPES else wanted
    if wanted in allowed or (wanted == AS_STORED and format != "gguf"):
        return wanted
    raise CheckpointError(f"--dtype {wanted}: for {format} choose one of {', '.join(allowed)}")


def all_halves(checkpoint: Checkpoint) -> dict[str, str]:
    """Tensor → float16, whatever it is: the only dtype that Ai00 reads."""
    return dict.fromkeys(checkpoint.tensors, "float16")


def dtypes_of(checkpoint: Checkpoint, config: ModelConfig, wanted: str) -> dict[str, str]:
    """Tensor → float32, float16 or bfloat16.

    AS_STORED is exact: what is not stored in one of these (blocks, or what an adapter changes) is
    float32. 16 bits are for matrices and the embedding; vectors and low-rank matrices, which are
    small and where rounding hurts most, stay as exact as they are, as in packed weights.
    """
    kinds = {name: part.kind for part in fields_of(config.generation) for name in part.tensors}
    chosen = {}
    for name, tensor in checkpoint.tensors.items():
        own = tensor.dtype if tensor.is_plain and tensor.dtype in PLAIN else "float32"
        kind = kinds.get(name) or kinds.get(_LAYER.sub("", name))
        is_large = kind in ("matrix", "embedding", "deep_embedding")
        chosen[name] = wanted if wanted == "float32" or (is_large and wanted in PLAIN) else own
    return chosen


def pieces_of(checkpoint: Checkpoint, tensor: Tensor, dtype: str) -> Iterator[Array]:
    """The tensor's rows as they are written, some at a time.

    Raises CheckpointError for values that are not finite, or that do not fit the dtype.
    """
    for rows in row_slices(tensor):
        values = tensor.to_float32(rows)
        largest = np.abs(values).max(initial=0)
        if not largest < np.inf:
            raise tensor_error(checkpoint.path, tensor.name, "has values that are not finite")
        if dtype == "bfloat16" and largest > _LARGEST_BFLOAT16:
            why = f"values up to {largest:.3g} do not fit bfloat16; use float32"
            raise tensor_error(checkpoint.path, tensor.name, why)
        try:
            yield encode(values, dtype)
        except ValueError as error:
            why = f"{error}; use bfloat16 or float32"
            raise tensor_error(checkpoint.path, tensor.name, why) from None
    tensor.forget()


def row_slices(tensor: Tensor) -> Iterator[slice]:
    """Consecutive rows of at most PIECE_VALUES values; all of what is decoded as a whole."""
    if tensor.whole or len(tensor.shape) < 2:
        yield slice(None)
        return
    rows = max(1, PIECE_VALUES // max(1, int(np.prod(tensor.shape[1:], dtype=np.int64))))
    for first in range(0, tensor.shape[0], rows):
        yield slice(first, min(first + rows, tensor.shape[0]))
