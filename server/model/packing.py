"""Turning tensors into the arrays that kernels read, a piece at a time."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from server.checkpoints.checkpoint import (
    NUMPY_DTYPES,
    Checkpoint,
    CheckpointError,
    Tensor,
    float32_to_bfloat16,
)
from server.kernels.pack import pack_rows, padded
from server.kernels.quantize import GROUP, quantize_int4, quantize_int8
from server.kernels.simd import LANES
from server.kernels.team import Team
from server.model.layout import Part
from server.model.tensors import Change

Array = npt.NDArray[Any]
Storage = Literal["float32", "bfloat16", "float16", "int8", "int4"]
Layout = dict[str, tuple[str, tuple[int, ...]]]
"""Name of an array → its dtype (a key of NUMPY_DTYPES) and shape."""

_ALL = slice(None)
PIECE_ROWS = 64 * LANES
"""Rows that are converted at once: packing needs little memory besides its result."""

# Neither NumPy nor Numba know both types of 16 bits: kernels tell them by the sign of the integer.
_BITS = {"float32": "float32", "bfloat16": "uint16", "float16": "int16"}
# Of what is rounded: the scale of a group is a float16.
_LARGEST = {"int8": 127 * 65504.0, "int4": 100 * 65504.0, "bfloat16": 3.38e38, "float16": 65504.0}


def arrays_of(part: Part, storage: Storage) -> Layout:
    """The arrays of one part. Those of matrices are named FIELD.codes and FIELD.scales."""
    if part.kind in ("vectors", "setting"):
        return {part.field: ("float32", (*part.leading, part.columns))}
    if part.kind == "embedding":
        return {part.field: (_BITS[storage], (part.rows, part.columns))}
    blocks, groups = padded(part.rows) // LANES, padded(part.columns, GROUP) // GROUP
    codes, scales = f"{part.field}.codes", f"{part.field}.scales"
    if storage not in ("int8", "int4"):
        return {codes: (_BITS[storage], (*part.leading, blocks, part.columns, LANES))}
    steps = groups * GROUP // (4 if storage == "int8" else 8)
    return {
        codes: ("uint8", (*part.leading, blocks, steps, LANES, 4)),
        scales: ("uint16", (*part.leading, blocks, groups, LANES)),
    }


def storage_of(part: Part, wanted: str, dtype_of: Callable[[str], str]) -> Storage:
    """How a part is kept when the user wants a weight type; dtype_of tells that of a tensor.

    What is no large matrix is never rounded, except for the embedding, of which 16 bits are kept.
    """
    if part.kind in ("vectors", "setting") or wanted == "float32":
        return "float32"
    if part.kind == "matrix" and wanted in ("int8", "int4"):
        # Half of what 4 bits cost in accuracy is the head's (docs/performance.md).
        return "int4" if wanted == "int4" and part.field != "head" else "int8"
    dtypes = {dtype_of(name) for name in part.sources if name is not None}
    if dtypes == {"float16"}:
        return "float16"
    return "bfloat16" if dtypes <= {"bfloat16"} or part.kind != "low_rank" else "float32"


_CHANGES: dict[Change, Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]] = {
    "none": lambda x: x,
    "complement": lambda x: 1 - x,
    "decay": lambda x: np.exp(-np.exp(x)),
    "minus_exp": lambda x: -np.exp(x),
}


class Packer:
    """Packs parts into arrays of their layout. Large matrices are a step of progress each."""

    def __init__(self, checkpoint: Checkpoint, team: Team, on_matrix: Callable[[], None]) -> None:
        self._checkpoint = checkpoint
        self._team = team
        self._on_matrix = on_matrix

    def pack(self, part: Part, storage: Storage, arrays: Mapping[str, Array]) -> None:
        """Fill the arrays of one part, which are zero.

        Raises CheckpointError for values that are not finite, or too large for the storage.
        """
        if part.kind == "setting":
            arrays[part.field][...] = part.value
        for index, name in enumerate(part.sources):
            if name is None:
                continue
            tensor = self._checkpoint.tensors[name]
            if part.kind == "vectors":
                rows = arrays[part.field].reshape(-1, part.columns)
                rows[index] = _changed(self._values(tensor, storage), part)
            elif part.kind == "embedding":
                self._embedding(tensor, storage, arrays[part.field])
            elif part.kind == "low_rank":
                matrices = self._typed(tensor, storage).reshape(-1, part.columns, part.rows)
                for place, matrix in enumerate(matrices, index * len(matrices)):
                    pack_rows(matrix.T, arrays[f"{part.field}.codes"][place])
            else:
                self._matrix(tensor, storage, part, index, arrays)
            tensor.forget()
            if part.steps:
                self._on_matrix()

    def _embedding(self, tensor: Tensor, storage: Storage, out: Array) -> None:
        for first in range(0, len(out), PIECE_ROWS):
            piece = slice(first, first + PIECE_ROWS)
            out[piece] = self._typed(tensor, storage, piece)

    def _matrix(
        self, tensor: Tensor, storage: Storage, part: Part, index: int, arrays: Mapping[str, Array]
    ) -> None:
        codes = arrays[f"{part.field}.codes"][index]
        for first in range(0, part.rows, PIECE_ROWS):
            piece = slice(first, min(first + PIECE_ROWS, part.rows))
            blocks = slice(first // LANES, padded(piece.stop) // LANES)
            if storage not in ("int8", "int4"):
                pack_rows(self._typed(tensor, storage, piece), codes[blocks])
                continue
            values, scales = self._values(tensor, storage, piece), arrays[f"{part.field}.scales"]
            values.flags.writeable = False  # as a mapped one is: kernels are compiled for one type
            quantize = quantize_int8 if storage == "int8" else quantize_int4
            self._team.run(quantize, values, codes[blocks], scales[index, blocks])

    def _typed(self, tensor: Tensor, storage: Storage, rows: slice = _ALL) -> Array:
        values = self._values(tensor, storage, rows)
        if storage == "float32":
            return values
        if tensor.dtype == storage and tensor.is_plain:
            return tensor.data[rows].view(NUMPY_DTYPES[_BITS[storage]])
        if storage == "float16":  # of values that an adapter has changed
            return values.astype(np.float16).view(np.int16)
        return float32_to_bfloat16(values)

    def _values(
        self, tensor: Tensor, storage: Storage, rows: slice = _ALL
    ) -> npt.NDArray[np.float32]:
        values = tensor.to_float32(rows)
        largest = np.abs(values).max(initial=0)
        if not largest < np.inf:
            self._refuse(tensor, "has values that are not finite")
        if largest > _LARGEST.get(storage, np.inf):
            self._refuse(tensor, f"has values up to {largest:.3g}: use --dtype float32")
        return values

    def _refuse(self, tensor: Tensor, why: str) -> None:
        raise CheckpointError(f"{self._checkpoint.path}: tensor {tensor.name[:120]} {why}")


def _changed(values: npt.NDArray[np.float32], part: Part) -> npt.NDArray[np.float64]:
    """[C] a vector as kernels want it; what has one value for a head is repeated over it."""
    changed = _CHANGES[part.change](values.reshape(-1).astype(np.float64))
    return np.repeat(changed, part.columns // changed.size)
