"""Turning tensors into the arrays that kernels read, a piece at a time."""

from collections.abc import Callable, Iterator, Mapping
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
from server.kernels.deep_embedding import multiply_normed
from server.kernels.jit import TARGET
from server.kernels.matrices import FloatMatrix
from server.kernels.pack import aligned_zeros, pack_rows, padded
from server.kernels.quantize import largest_magnitude, quantize_int4, quantize_int8
from server.kernels.simd import GROUP, LANES
from server.kernels.team import Team
from server.model.layers import LAYER_NORM_EPSILON
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
    if part.kind == "deep_embedding":  # all that a token reads lies together
        return {part.field: (_BITS[storage], (part.rows, *part.leading, part.columns))}
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

    What is no large matrix is never rounded, except for the embeddings, of which 16 bits are kept.
    A deep one is a sum, which float16 holds more exactly than bfloat16, as the official code does.
    """
    if part.kind in ("vectors", "setting") or wanted == "float32":
        return "float32"
    if part.kind == "deep_embedding":
        return "float16"
    if part.kind == "matrix" and wanted in ("int8", "int4"):
        # Half of what 4 bits cost in accuracy is the head's (docs/performance.md).
        return "int4" if wanted == "int4" and part.field != "head" else "int8"
    exact = ("low_rank", "exact_matrix")
    dtypes = {dtype_of(name) for name in part.sources if name is not None}
    if dtypes == {"float16"}:
        return "float16"
    return "bfloat16" if dtypes <= {"bfloat16"} or part.kind not in exact else "float32"


_CHANGES: dict[Change, Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]] = {
    "none": lambda x: x,
    "complement": lambda x: 1 - x,
    "decay": lambda x: np.exp(-np.exp(x)),
    "minus_exp": lambda x: -np.exp(x),
}


class Packer:
    """Packs parts into arrays of their layout; on_bytes is told how much of the file is done."""

    def __init__(self, checkpoint: Checkpoint, team: Team, on_bytes: Callable[[int], None]) -> None:
        self._checkpoint = checkpoint
        self._team = team
        self._on_bytes = on_bytes
        self._peaks = np.zeros(team.threads, np.int32)

    def pack(self, part: Part, storage: Storage, arrays: Mapping[str, Array]) -> None:
        """Fill the arrays of one part, which are zero.

        Raises CheckpointError for values that are not finite, or too large for the storage.
        """
        if part.kind == "setting":
            arrays[part.field][...] = part.value
        if part.kind == "deep_embedding":
            self._deep_embedding(part, storage, arrays[part.field])
            return
        for index, name in enumerate(part.sources):
            if name is None:
                continue
            tensor = self._checkpoint.tensors[name]
            if part.kind == "vectors":
                rows = arrays[part.field].reshape(-1, part.columns)
                rows[index] = _changed(self._values(tensor, storage), part)
                self._on_bytes(tensor.nbytes)
            elif part.kind == "embedding":
                self._embedding(tensor, storage, part, arrays[part.field])
            elif part.kind == "low_rank":
                matrices = self._typed(tensor, storage).reshape(-1, part.columns, part.rows)
                for place, matrix in enumerate(matrices, index * len(matrices)):
                    pack_rows(matrix.T, arrays[f"{part.field}.codes"][place])
                self._on_bytes(tensor.nbytes)
            else:
                self._matrix(tensor, storage, part, index, arrays)
            tensor.forget()

    def _pieces(self, tensor: Tensor, part: Part) -> Iterator[slice]:
        """Some rows after the other; each is reported when the next is asked for."""
        for first in range(0, part.rows, PIECE_ROWS):
            piece = slice(first, min(first + PIECE_ROWS, part.rows))
            yield piece
            done, before = (tensor.nbytes * n // part.rows for n in (piece.stop, first))
            self._on_bytes(done - before)

    def _embedding(self, tensor: Tensor, storage: Storage, part: Part, out: Array) -> None:
        for piece in self._pieces(tensor, part):
            out[piece] = self._typed(tensor, storage, piece)

    def _deep_embedding(self, part: Part, storage: Storage, out: Array) -> None:
        """out[:, layer] = s_emb + ln0(embedding) s_emb_xᵀ, which official code computes at load."""
        tensors, names = self._checkpoint.tensors, part.sources
        for layer, (table, matrix) in enumerate(zip(names[::2], names[1::2], strict=True)):
            assert table is not None
            assert matrix is not None
            added = self._normed_products(tensors[matrix], PIECE_ROWS)
            for piece in self._pieces(tensors[table], part):
                merged = self._values(tensors[table], "float32", piece) + added(piece)
                self._find_peak(merged)
                self._check(tensors[table], storage)
                out[piece, layer] = merged if storage == "float32" else _float16_bits(merged)
            tensors[table].forget()
            tensors[matrix].forget()
            self._on_bytes(tensors[matrix].nbytes)

    def _normed_products(
        self, matrix: Tensor, size: int
    ) -> Callable[[slice], npt.NDArray[np.float32]]:
        """From up to `size` rows of the embedding to their norms' products with a matrix."""
        names = ("blocks.0.ln0.weight", "blocks.0.ln0.bias")
        norm = [self._values(self._checkpoint.tensors[name], "float32") for name in names]
        rows, columns = matrix.shape
        codes: Array = aligned_zeros((padded(rows) // LANES, columns, LANES), np.float32)
        pack_rows(self._values(matrix, "float32"), codes)
        for array in (*norm, codes):
            array.flags.writeable = False  # as a mapped one is: kernels are compiled for one type
        normed: Array = aligned_zeros((size, columns), np.float32)
        out: Array = aligned_zeros((size, padded(rows)), np.float32)

        def products(piece: slice) -> npt.NDArray[np.float32]:
            x = self._values(self._checkpoint.tensors["emb.weight"], "float32", piece)
            x.flags.writeable = False
            epsilon = np.float64(LAYER_NORM_EPSILON)
            self._team.run(multiply_normed, x, *norm, epsilon, FloatMatrix(codes), normed, out)
            return out[: len(x), :rows]

        return products

    def _matrix(
        self, tensor: Tensor, storage: Storage, part: Part, index: int, arrays: Mapping[str, Array]
    ) -> None:
        codes = arrays[f"{part.field}.codes"][index]
        for piece in self._pieces(tensor, part):
            blocks = slice(piece.start // LANES, padded(piece.stop) // LANES)
            if storage not in ("int8", "int4"):
                pack_rows(self._typed(tensor, storage, piece), codes[blocks])
                continue
            values, scales = _readable(tensor, piece), arrays[f"{part.field}.scales"]
            quantize = quantize_int8 if storage == "int8" else quantize_int4
            self._team.run(quantize, values, codes[blocks], scales[index, blocks], self._peaks)
            self._check(tensor, storage)

    def _typed(self, tensor: Tensor, storage: Storage, rows: slice = _ALL) -> Array:
        if tensor.dtype == storage and _is_readable(tensor):
            values = _readable(tensor, rows)
            self._find_peak(values)
            self._check(tensor, storage)
            return values
        values = self._values(tensor, storage, rows)
        if storage == "float32":
            return values
        if storage == "float16":  # of values that an adapter has changed
            return _float16_bits(values)
        return float32_to_bfloat16(values)

    def _values(
        self, tensor: Tensor, storage: Storage, rows: slice = _ALL
    ) -> npt.NDArray[np.float32]:
        values = tensor.to_float32(rows)
        self._find_peak(values)
        self._check(tensor, storage)
        return values

    def _find_peak(self, values: Array) -> None:
        flat = values.reshape(-1)
        flat.flags.writeable = False  # kernels are compiled for one type
        self._team.run(largest_magnitude, flat, self._peaks)

    def _check(self, tensor: Tensor, storage: Storage) -> None:
        largest = self._peaks.max().view(np.float32)
        if not largest < np.inf:
            self._refuse(tensor, "has values that are not finite")
        if largest > _LARGEST.get(storage, np.inf):
            self._refuse(tensor, f"has values up to {largest:.3g}: use --dtype float32")

    def _refuse(self, tensor: Tensor, why: str) -> None:
        raise CheckpointError(f"{self._checkpoint.path}: tensor {tensor.name[:120]} {why}")


def _is_readable(tensor: Tensor) -> bool:
    """Whether kernels read its values as they are stored."""
    without_instruction = tensor.dtype == "float16" and not TARGET.has_half
    return tensor.is_plain and tensor.dtype in _BITS and not without_instruction


def _readable(tensor: Tensor, rows: slice) -> Array:
    """Some rows, contiguous, of a type that kernels read: as they are stored, or as float32."""
    values: Array
    if _is_readable(tensor):
        stored = tensor.data[rows].view(NUMPY_DTYPES[_BITS[tensor.dtype]])
        values = np.require(stored, None, ["C", "A"])
    else:
        values = tensor.to_float32(rows)
    values.flags.writeable = False  # as a mapped one is: kernels are compiled for one type
    return values


def _float16_bits(values: npt.NDArray[np.float32]) -> Array:
    return values.astype(np.float16).view(np.int16)


def _changed(values: npt.NDArray[np.float32], part: Part) -> npt.NDArray[np.float64]:
    """[C] a vector as kernels want it; what has one value for a head is repeated over it."""
    changed = _CHANGES[part.change](values.reshape(-1).astype(np.float64))
    return np.repeat(changed, part.columns // changed.size)
