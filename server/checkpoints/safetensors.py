"""Reading safetensors: u64 length, JSON header, tensor bytes.

Our own reader, because it maps the file without a copy and knows bfloat16 without a framework.
Format: https://github.com/huggingface/safetensors#format
"""

import json
import mmap
from math import prod
from pathlib import Path
from typing import Any

from server.checkpoints.checkpoint import (
    NUMPY_DTYPES,
    Checkpoint,
    CheckpointError,
    Tensor,
    check_overlaps,
    check_shape,
    map_file,
    tensor_error,
    view_tensor,
)
from server.checkpoints.json_file import check_unicode

# The largest RWKV has some 2500 tensors, about 120 bytes of header each.
MAX_HEADER_BYTES = 8 << 20

DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}


def read_safetensors(path: Path) -> Checkpoint:
    """Map a safetensors file. Raises CheckpointError for anything but a whole and valid file."""
    return parse_safetensors(path, map_file(path))


def parse_safetensors(path: Path, mapped: mmap.mmap | bytes) -> Checkpoint:
    """The same of a file's contents; `path` is what errors call it."""
    header, start = _read_header(path, mapped)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise CheckpointError(f"{path}: __metadata__ must map strings to strings")
    tensors: dict[str, Tensor] = {}
    spans: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        dtype, shape, begin, end = _check_entry(path, name, entry, len(mapped) - start)
        if begin < end:
            spans.append((begin, end, name))
        try:
            tensors[name] = view_tensor(mapped, name, dtype, shape, start + begin)
        except (ValueError, MemoryError):  # an empty tensor of dimensions beyond NumPy's
            raise tensor_error(path, name, f"impossible shape {list(shape)}") from None
    check_overlaps(path, spans)
    return Checkpoint(path, metadata, tensors)


def header_bytes(mapped: mmap.mmap | bytes) -> bytes:
    """What comes before the data of a file that was read: the header and its length."""
    return mapped[: 8 + int.from_bytes(mapped[:8], "little")]


def _read_header(path: Path, mapped: mmap.mmap | bytes) -> tuple[dict[str, Any], int]:
    """The header's JSON object, and where the tensor bytes start."""
    if len(mapped) < 8:
        raise CheckpointError(f"{path}: truncated: {len(mapped)} bytes, no safetensors header")
    length = int.from_bytes(mapped[:8], "little")
    if length > MAX_HEADER_BYTES:
        raise CheckpointError(f"{path}: safetensors header of {length} bytes is too large")
    if length > len(mapped) - 8:
        raise CheckpointError(f"{path}: truncated: the file ends inside the safetensors header")
    try:
        text = mapped[8 : 8 + length].decode("utf-8")
        header = json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_constant=_no_constants,
        )
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else error
        raise CheckpointError(f"{path}: safetensors header is not valid JSON: {why}") from None
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: safetensors header is not a JSON object")
    check_unicode(path, text, header)
    return header, 8 + length


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _no_constants(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _check_entry(
    path: Path, name: str, entry: Any, available: int
) -> tuple[str, tuple[int, ...], int, int]:
    """(dtype, shape, begin, end) of one header entry; offsets are relative to the data."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise tensor_error(path, name, "wants exactly dtype, shape and data_offsets")
    dtype = DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise tensor_error(path, name, f"dtype {str(entry['dtype'])[:32]} is not supported")
    shape = check_shape(entry["shape"])
    if shape is None:
        raise tensor_error(path, name, "shape must be a short list of non-negative integers")
    offsets = entry["data_offsets"]
    if not isinstance(offsets, list) or [type(o) for o in offsets] != [int, int]:
        raise tensor_error(path, name, "data_offsets must be two integers")
    begin, end = offsets
    if not 0 <= begin <= end:
        raise tensor_error(path, name, "data_offsets are negative or reversed")
    if end > available:
        raise tensor_error(path, name, "reaches past the end of the file (truncated?)")
    if end - begin != prod(shape) * NUMPY_DTYPES[dtype].itemsize:
        raise tensor_error(
            path, name, f"{end - begin} bytes do not hold {dtype} of shape {list(shape)}"
        )
    return dtype, shape, begin, end
