"""Writing GGUF version 3, llama.cpp's file format: metadata, then aligned tensors.

Needs nothing but NumPy, so that the benchmark runs where the server does; the tests read the files
back with the `gguf` package.
"""

import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
Value = str | int | float | Sequence[str] | Sequence[int]
"""Of metadata: a string, uint32 or float32, or an array of strings or int32."""

_MAGIC, _VERSION, _ALIGNMENT = b"GGUF", 3, 32
_UINT32, _INT32, _FLOAT32, _STRING, _ARRAY = 4, 5, 6, 8, 9  # gguf_type
_TENSOR_TYPES = {  # ggml_type: F32, F16 and BF16, which is held as its bits
    np.dtype("<f4"): 0,
    np.dtype("<f2"): 1,
    np.dtype("<u2"): 30,
}


def write_gguf(path: Path, metadata: Mapping[str, Value], tensors: Mapping[str, Array]) -> None:
    """Write name → array of float32, float16 or the bits of bfloat16 as uint16.

    Shapes are NumPy's, the last dimension contiguous; the file has them reversed. It appears under
    its name when it is whole. Raises OSError, or KeyError for an array of another dtype.
    """
    header = _header(metadata, tensors)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(header + _padding(len(header)))
            for array in tensors.values():
                file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
                file.write(_padding(array.nbytes))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _header(metadata: Mapping[str, Value], tensors: Mapping[str, Array]) -> bytes:
    parts = [_MAGIC, struct.pack("<IQQ", _VERSION, len(tensors), len(metadata))]
    parts += (_string(key) + _value(value) for key, value in metadata.items())
    offset = 0
    for name, array in tensors.items():
        shape = array.shape[::-1]
        parts += (_string(name), struct.pack(f"<I{len(shape)}Q", len(shape), *shape))
        parts.append(struct.pack("<IQ", _TENSOR_TYPES[array.dtype], offset))
        offset += array.nbytes + len(_padding(array.nbytes))
    return b"".join(parts)


def _value(value: Value) -> bytes:
    """The type and the value of one metadata entry."""
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _string(value)
    if isinstance(value, int):
        return struct.pack("<II", _UINT32, value)
    if isinstance(value, float):
        return struct.pack("<If", _FLOAT32, value)
    kind = _STRING if isinstance(value[0], str) else _INT32
    items = (_string(item) if isinstance(item, str) else struct.pack("<i", item) for item in value)
    return struct.pack("<IIQ", _ARRAY, kind, len(value)) + b"".join(items)


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _padding(size: int) -> bytes:
    return bytes(-size % _ALIGNMENT)
