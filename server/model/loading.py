"""From a checkpoint's named tensors to the stacked and packed arrays that the kernels read."""

import re
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from server.checkpoints.checkpoint import (
    Checkpoint,
    CheckpointError,
    Tensor,
    float32_to_bfloat16,
)
from server.kernels.linear import FloatMatrix, Int8Matrix
from server.kernels.pack import aligned_empty, pack_int8, pack_rows, padded
from server.kernels.simd import LANES
from server.kernels.simd_int8 import GROUP
from server.model.config import ModelConfig
from server.model.rwkv7 import MIXES
from server.model.rwkv7_arrays import Weights

WeightType = Literal["float32", "bfloat16", "int8"]
Array = npt.NDArray[Any]
_LOW_RANK = re.compile(r"\.att\.[wavg][12]$")

INT8_PARAMETERS = 50_000_000
"""From this size on "auto" is int8: below it speed is not the memory's."""

OnProgress = Callable[[int, int], None]
"""Called with (matrices done, matrices in all)."""


def choose_dtype(wanted: str, config: ModelConfig) -> WeightType:
    """Resolve "auto": int8 for large models; for small ones what the checkpoint's values need."""
    if wanted == "auto":
        if config.parameters >= INT8_PARAMETERS:
            return "int8"
        return "bfloat16" if config.stored_dtype == "bfloat16" else "float32"
    if wanted not in get_args(WeightType):
        raise ValueError(f"unknown weight type {wanted!r}")
    return wanted  # type: ignore[return-value]


def load_weights(
    checkpoint: Checkpoint, config: ModelConfig, dtype: WeightType, on_progress: OnProgress
) -> Weights:
    """Read, check and pack all weights. Raises CheckpointError for values that are not finite."""
    loader = _Loader(checkpoint, config, dtype, on_progress)
    c, rank = config.dim, loader.low_rank
    return Weights(
        embedding=loader.embedding(),
        norm_weight=loader.vectors(["blocks.0.ln0.weight", "ln_out.weight"]),
        norm_bias=loader.vectors(["blocks.0.ln0.bias", "ln_out.bias"]),
        block_norm_weight=loader.stack("ln1.weight", "ln2.weight"),
        block_norm_bias=loader.stack("ln1.bias", "ln2.bias"),
        mix=loader.stack(*(f"att.x_{name}" for name in MIXES)),
        receptance=loader.linear("att.receptance.weight", c, c),
        key=loader.linear("att.key.weight", c, c),
        value=loader.linear("att.value.weight", c, c),
        output=loader.linear("att.output.weight", c, c),
        decay_base=loader.layers_of("att.w0"),
        decay_down=rank("att.w1", config.decay_rank, c),
        decay_up=rank("att.w2", c, config.decay_rank),
        rate_base=loader.layers_of("att.a0"),
        rate_down=rank("att.a1", config.a_rank, c),
        rate_up=rank("att.a2", c, config.a_rank),
        first_base=loader.layers_of("att.v0", first_layer=1),
        first_down=rank("att.v1", config.v_rank, c, first_layer=1),
        first_up=rank("att.v2", c, config.v_rank, first_layer=1),
        gate_down=rank("att.g1", config.gate_rank, c),
        gate_up=rank("att.g2", c, config.gate_rank),
        removal_scale=loader.layers_of("att.k_k"),
        rate_scale=loader.layers_of("att.k_a"),
        bonus=loader.layers_of("att.r_k"),
        group_norm_weight=loader.layers_of("att.ln_x.weight"),
        group_norm_bias=loader.layers_of("att.ln_x.bias"),
        channel_mix=loader.layers_of("ffn.x_k"),
        channel_key=loader.linear("ffn.key.weight", config.ffn_dim, c),
        channel_value=loader.linear("ffn.value.weight", c, config.ffn_dim),
        head=loader.head(),
    )


class _Loader:
    """Reads tensors by name; every matrix that it packs is a step of progress."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        config: ModelConfig,
        dtype: WeightType,
        on_progress: OnProgress,
    ) -> None:
        self._checkpoint = checkpoint
        self._config = config
        self._dtype = dtype
        self._on_progress = on_progress
        self._exact_in_bfloat16 = dtype != "float32" and all(
            tensor.dtype == "bfloat16"
            for name, tensor in checkpoint.tensors.items()
            if _LOW_RANK.search(name)
        )
        # 6 large and 8 low-rank matrices a layer; layer 0 lacks two, embedding and head add two.
        self._total = 14 * config.layers
        self._done = 0

    def vectors(self, names: list[str]) -> Array:
        """The named vectors as rows, [len(names), C] float32."""
        rows = [self._values(self._checkpoint.tensors[name]).reshape(-1) for name in names]
        return np.ascontiguousarray(np.stack(rows), dtype=np.float32)

    def stack(self, *names: str) -> Array:
        """[L, len(names), C] float32."""
        layers = range(self._config.layers)
        rows = [self.vectors([f"blocks.{layer}.{name}" for name in names]) for layer in layers]
        return np.stack(rows)

    def layers_of(self, name: str, first_layer: int = 0) -> Array:
        """[L, C] float32; layers before first_layer have no such tensor and stay zero."""
        result = np.zeros((self._config.layers, self._config.dim), dtype=np.float32)
        for layer in range(first_layer, self._config.layers):
            result[layer] = self.vectors([f"blocks.{layer}.{name}"])[0]
        return result

    def linear(self, name: str, rows: int, columns: int) -> FloatMatrix | Int8Matrix:
        """A matrix of each layer, stored as [rows, columns]."""
        names = [f"blocks.{layer}.{name}" for layer in range(self._config.layers)]
        return self._matrix(names, rows, columns)

    def head(self) -> FloatMatrix | Int8Matrix:
        """The matrix [V, C] that makes logits."""
        return self._matrix(["head.weight"], self._config.vocab_size, self._config.dim)

    def low_rank(self, name: str, rows: int, columns: int, first_layer: int = 0) -> Array:
        """[L, ⌈rows/16⌉, columns, 16], float32 or bfloat16, of matrices stored as [columns, rows].

        They are few bytes and sensitive, so they are never rounded.
        """
        # A kernel never reads an empty matrix, but a block must exist to have an address.
        dtype = np.uint16 if self._exact_in_bfloat16 else np.float32
        packed = self._zeros(self._config.layers, max(rows, 1), max(columns, 1), dtype)
        for layer in range(first_layer, self._config.layers):
            tensor = self._checkpoint.tensors[f"blocks.{layer}.{name}"]
            values = self._values(tensor)
            pack_rows((tensor.data if self._exact_in_bfloat16 else values).T, packed[layer])
            self._advance()
        return packed

    def embedding(self) -> Array:
        """[V, C] float32 or bfloat16 bits: one row is read for each token."""
        rows = self._typed(self._checkpoint.tensors["emb.weight"])
        self._advance()
        return np.array(rows, order="C")

    def _matrix(self, names: list[str], rows: int, columns: int) -> FloatMatrix | Int8Matrix:
        if self._dtype == "int8":
            return self._int8_matrix(names, rows, columns)
        dtype = np.uint16 if self._dtype == "bfloat16" else np.float32
        packed = self._zeros(len(names), rows, columns, dtype)
        for name, out in zip(names, packed, strict=True):
            pack_rows(self._typed(self._checkpoint.tensors[name]), out)
            self._advance()
        return FloatMatrix(packed)

    def _int8_matrix(self, names: list[str], rows: int, columns: int) -> Int8Matrix:
        blocks, groups = padded(rows) // LANES, padded(columns, GROUP) // GROUP
        codes = aligned_empty((len(names), blocks, groups * GROUP // 4, LANES, 4), np.uint8)
        scales = aligned_empty((len(names), blocks, groups, LANES), np.uint16)
        for name, out, out_scales in zip(names, codes, scales, strict=True):
            pack_int8(self._values(self._checkpoint.tensors[name]), out, out_scales)
            self._advance()
        return Int8Matrix(codes, scales)

    def _zeros(self, matrices: int, rows: int, columns: int, dtype: npt.DTypeLike) -> Array:
        packed = aligned_empty((matrices, padded(rows) // LANES, columns, LANES), dtype)
        packed[:] = 0
        return packed

    def _typed(self, tensor: Tensor) -> Array:
        values = self._values(tensor)
        if self._dtype == "float32":
            return values
        return tensor.data if tensor.dtype == "bfloat16" else float32_to_bfloat16(values)

    def _values(self, tensor: Tensor) -> Array:
        values = tensor.to_float32()
        if not np.isfinite(values).all():
            raise CheckpointError(
                f"{self._checkpoint.path}: tensor {tensor.name} has values that are not finite"
            )
        return values

    def _advance(self) -> None:
        self._done += 1
        self._on_progress(self._done, self._total)
