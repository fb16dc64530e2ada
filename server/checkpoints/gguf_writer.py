"""Writing GGUF files that llama.cpp loads: RWKV-6 and RWKV-7, streamed and atomic.

The `gguf` package writes the header; the data follow a piece at a time, which it cannot do.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt
from gguf import GGUFWriter
from gguf.constants import (
    GGML_QUANT_VERSION,
    GGUF_DEFAULT_ALIGNMENT,
    GGMLQuantizationType,
    LlamaFileType,
)

from server.checkpoints.checkpoint import Checkpoint, CheckpointError, Tensor, tensor_error
from server.checkpoints.ggml import NUMBERS, encode, stored_bytes
from server.checkpoints.gguf_names import (
    FUSED,
    MODEL,
    RWKV6,
    RWKV7,
    VALUE_RESIDUAL,
    Architecture,
    Entry,
)
from server.checkpoints.gguf_vocabulary import NO_VOCABULARY, RWKV, stored_tokens
from server.checkpoints.writer import Progress
from server.temporary_files import replacing

Floats = npt.NDArray[np.float32]

DTYPES = {
    "f32": ("float32", LlamaFileType.ALL_F32),
    "f16": ("float16", LlamaFileType.MOSTLY_F16),
    "bf16": ("bfloat16", LlamaFileType.MOSTLY_BF16),
    "q8_0": ("q8_0", LlamaFileType.MOSTLY_Q8_0),
    "q5_1": ("q5_1", LlamaFileType.MOSTLY_Q5_1),
    "q5_0": ("q5_0", LlamaFileType.MOSTLY_Q5_0),
    "q4_1": ("q4_1", LlamaFileType.MOSTLY_Q4_1),
    "q4_0": ("q4_0", LlamaFileType.MOSTLY_Q4_0),
}
"""What large matrices can be written as. The package does not encode K-quants: llama-quantize
makes them of f16."""

CONTEXT_LENGTH = (
    1 << 20
)  # RWKV has no limit; llama.cpp wants a number, and its converter gives this
LAYER_NORM_EPSILON = 1e-5
PIECE_VALUES = 1 << 22  # of a matrix that are converted at once

_LAYER = re.compile(r"blocks\.(\d{1,4})\.")


@dataclass(frozen=True)
class _Planned:
    """One tensor to write: as what, and where its values come from."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    pieces: Callable[[], Iterator[Floats]]


def write_gguf(
    path: Path,
    checkpoint: Checkpoint,
    dtype: str = "f16",
    *,
    name: str = "",
    vocabulary: Sequence[bytes] | None = None,
    chat_template: str | None = None,
    progress: Progress | None = None,
) -> None:
    """Write the official tensors of RWKV-6 or RWKV-7; `dtype` is a key of DTYPES.

    `vocabulary` holds a token's bytes by id, b"" for special ones; without it the file has none.
    Vectors stay float32 and low-rank matrices are never quantised, as in llama.cpp. Raises OSError,
    ValueError for an unknown dtype, and CheckpointError for tensors that do not fit.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype}: choose one of {', '.join(DTYPES)}")
    architecture = _architecture(checkpoint)
    layers = 1 + max(int(m[1]) for n in checkpoint.tensors if (m := _LAYER.match(n)))
    plan = list(_plan(checkpoint, architecture, layers, DTYPES[dtype][0]))
    header = GGUFWriter(None, architecture.name)
    _add_sizes(header, checkpoint, architecture, layers)
    header.add_name(name or checkpoint.path.stem)
    header.add_file_type(DTYPES[dtype][1])
    header.add_quantization_version(GGML_QUANT_VERSION)
    _add_vocabulary(header, checkpoint, vocabulary)
    if chat_template:
        header.add_chat_template(chat_template)
    for planned in plan:
        kind = GGMLQuantizationType(NUMBERS[planned.dtype])
        header.add_tensor_info(
            planned.name, planned.shape, np.dtype(np.float32), planned.nbytes, kind
        )
    with replacing(path) as temporary:
        _write_header(header, temporary)
        with temporary.open("ab") as file:
            _write_data(file, checkpoint.path, plan, progress)


def _architecture(checkpoint: Checkpoint) -> Architecture:
    if "blocks.0.att.r_k" in checkpoint.tensors:
        return RWKV7
    if "blocks.0.att.time_maa_x" in checkpoint.tensors:
        return RWKV6
    raise CheckpointError(f"{checkpoint.path}: neither RWKV-6 nor RWKV-7, of which GGUF files are")


def _tensor(checkpoint: Checkpoint, name: str) -> Tensor:
    if name not in checkpoint.tensors:
        raise tensor_error(checkpoint.path, name, "is missing")
    return checkpoint.tensors[name]


def _axis(checkpoint: Checkpoint, name: str, axis: int) -> int:
    shape = _tensor(checkpoint, name).shape
    if len(shape) <= axis:
        raise tensor_error(checkpoint.path, name, f"has shape {list(shape)}, wants more dimensions")
    return shape[axis]


def _plan(
    checkpoint: Checkpoint, architecture: Architecture, layers: int, dtype: str
) -> Iterator[_Planned]:
    """All tensors in the order of the file."""
    unused = set(checkpoint.tensors)

    def planned(entry: Entry, official: str, name: str) -> _Planned:
        unused.discard(official)
        return _plan_one(checkpoint.path, _tensor(checkpoint, official), entry, name, dtype)

    for entry in MODEL:
        yield planned(entry, entry.official, entry.gguf)
    for layer in range(layers):
        for entry in architecture.layer:
            official = f"blocks.{layer}.{entry.official}"
            if layer == 0 and entry.official in VALUE_RESIDUAL:
                unused.discard(official)
                official = official.replace(".v", ".a")
            yield planned(entry, official, f"blk.{layer}.{entry.gguf}")
        fused = [f"blocks.{layer}.{name}" for name in architecture.fused]
        unused.difference_update(fused)
        yield _plan_fused([_tensor(checkpoint, name) for name in fused], f"blk.{layer}.{FUSED}")
    if unused:
        why = f"is not part of {architecture.name}"
        raise tensor_error(checkpoint.path, min(unused), why)


def _plan_one(path: Path, tensor: Tensor, entry: Entry, name: str, dtype: str) -> _Planned:
    shape = tensor.shape
    if entry.layout in ("row", "flat"):
        shape = (prod(shape),)
    elif entry.layout == "transposed":
        if len(shape) < 2:
            raise tensor_error(path, tensor.name, f"has shape {list(shape)}, wants a matrix")
        shape = (*shape[:-2], shape[-1], shape[-2])
    written = _written_dtype(entry, dtype, shape)

    def pieces() -> Iterator[Floats]:
        if entry.layout == "transposed":
            yield np.ascontiguousarray(tensor.to_float32().swapaxes(-1, -2))
        elif entry.layout != "same" or tensor.whole or len(shape) == 1:
            yield tensor.to_float32().reshape(shape)
        else:
            rows = max(1, PIECE_VALUES // shape[1])
            for first in range(0, shape[0], rows):
                yield tensor.to_float32(slice(first, first + rows))
        tensor.forget()

    return _Planned(name, written, shape, _size(written, shape), pieces)


def _plan_fused(parts: list[Tensor], name: str) -> _Planned:
    def pieces() -> Iterator[Floats]:
        for part in parts:
            yield part.to_float32().reshape(-1)

    shape = (len(parts), 1, 1, prod(parts[0].shape))
    return _Planned(name, "float32", shape, _size("float32", shape), pieces)


def _written_dtype(entry: Entry, dtype: str, shape: tuple[int, ...]) -> str:
    if entry.precision == "float32" or dtype == "float32":
        return "float32"
    if dtype in ("float16", "bfloat16"):
        return dtype
    # As llama.cpp does where no blocks make such a row.
    whole_blocks = stored_bytes(dtype, shape) is not None
    return dtype if entry.precision == "any" and whole_blocks else "float16"


def _size(dtype: str, shape: tuple[int, ...]) -> int:
    return cast(int, stored_bytes(dtype, shape))  # the dtype was chosen to have such rows


def _add_sizes(
    header: GGUFWriter, checkpoint: Checkpoint, architecture: Architecture, layers: int
) -> None:
    """The sizes that llama.cpp wants, all read from the shapes."""
    size = partial(_axis, checkpoint)
    header.add_context_length(CONTEXT_LENGTH)
    header.add_embedding_length(size("emb.weight", 1))
    header.add_block_count(layers)
    header.add_feed_forward_length(size("blocks.0.ffn.key.weight", 0))
    header.add_layer_norm_eps(LAYER_NORM_EPSILON)
    header.add_token_shift_count(2)
    header.add_head_count(0)  # must be there, and is not used
    if architecture is RWKV6:
        header.add_wkv_head_size(size("blocks.0.att.time_faaaa", 1))
        header.add_time_mix_extra_dim(size("blocks.0.att.time_maa_w2", 1))
        header.add_time_decay_extra_dim(size("blocks.0.att.time_decay_w2", 0))
        header.add_rescale_every_n_layers(0)
        return
    header.add_wkv_head_size(size("blocks.0.att.r_k", 1))
    header.add_decay_lora_rank(size("blocks.0.att.w1", 1))
    header.add_iclr_lora_rank(size("blocks.0.att.a1", 1))
    value_rank = size("blocks.1.att.v1", 1) if layers > 1 else size("blocks.0.att.a1", 1)
    header.add_value_residual_mix_lora_rank(value_rank)
    header.add_gate_lora_rank(size("blocks.0.att.g1", 1))


def _add_vocabulary(
    header: GGUFWriter, checkpoint: Checkpoint, vocabulary: Sequence[bytes] | None
) -> None:
    size = _axis(checkpoint, "emb.weight", 0)
    if not vocabulary:
        header.add_tokenizer_model(NO_VOCABULARY)
        header.add_vocab_size(size)
        return
    if len(vocabulary) > size:
        raise CheckpointError(
            f"{checkpoint.path}: a vocabulary of {len(vocabulary)} for a model of {size} tokens"
        )
    tokens, types = stored_tokens(vocabulary, size)
    header.add_tokenizer_model(RWKV)
    header.add_token_list(tokens)
    header.add_token_types(types)
    header.add_bos_token_id(0)
    header.add_eos_token_id(0)


def _write_header(header: GGUFWriter, path: Path) -> None:
    try:
        header.write_header_to_file(path)
        header.write_kv_data_to_file()
        header.write_ti_data_to_file()
    finally:
        header.close()


def _write_data(
    file: BinaryIO, source: Path, plan: Sequence[_Planned], progress: Progress | None
) -> None:
    total, written = sum(planned.nbytes for planned in plan), 0
    for planned in plan:
        file.write(bytes(-file.tell() % GGUF_DEFAULT_ALIGNMENT))
        begin = file.tell()
        for values in planned.pieces():
            try:
                stored = encode(values, planned.dtype)
            except ValueError as error:
                raise CheckpointError(f"{source}: {planned.name}: {error}; use bf16") from None
            file.write(np.ascontiguousarray(stored).reshape(-1).view(np.uint8).data)
            if progress:
                progress(written + file.tell() - begin, total)
        if file.tell() - begin != planned.nbytes:
            raise CheckpointError(f"{source}: {planned.name}: parts of unequal shape")
        written += planned.nbytes
