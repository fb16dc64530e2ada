"""Packed models as files of their own: written once by `convert`, mapped on any machine.

Unlike what the cache keeps (packed_file.py), such a file stands for a model: what is wrong with it
is an error, since there is nothing to make it of again.
"""

import os
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import get_args

from server.checkpoints.checkpoint import NUMPY_DTYPES, Checkpoint, CheckpointError
from server.checkpoints.writer import replacing, safetensors_header
from server.model.config import ModelConfig
from server.model.layout import Part, parts_of
from server.model.packed_file import CHECKSUMS, Array, checksum_of, fill_file
from server.model.packing import Layout, Storage, arrays_of
from server.model.tensors import is_tuned_state


def write_packed(
    path: Path,
    metadata: Mapping[str, str],
    layout: Layout,
    states: Mapping[str, Array],
    fill: Callable[[dict[str, Array]], None],
) -> None:
    """Write the arrays that `fill` makes of zeros, and tuned states (float32) by their names.

    The file appears when it is whole. Raises OSError, and what `fill` raises.
    """
    stored: Layout = layout | {name: ("float32", array.shape) for name, array in states.items()}
    stored = stored | {CHECKSUMS: ("uint32", (len(stored),))}
    header, size = safetensors_header(stored, metadata)

    def fill_all(arrays: dict[str, Array]) -> None:
        for name, array in states.items():
            arrays[name][...] = array
        fill({name: arrays[name] for name in layout})

    with replacing(path) as temporary:
        file = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            fill_file(file, header, size, stored, fill_all)
        finally:
            os.close(file)


def packed_parts(checkpoint: Checkpoint, config: ModelConfig) -> list[tuple[Part, Storage]]:
    """The parts of a packed model, and how its arrays store them. Raises CheckpointError."""
    return [(part, _storage(checkpoint, part)) for part in parts_of(config)]


def map_packed(
    checkpoint: Checkpoint, layout: Layout, on_array: Callable[[], None]
) -> dict[str, Array]:
    """The arrays of a packed model, mapped read-only.

    Raises CheckpointError unless they are exactly where write_packed() puts them, and as it did.
    """
    tensors = checkpoint.tensors
    states = {n: ("float32", t.shape) for n, t in tensors.items() if is_tuned_state(n)}
    stored: Layout = {**layout, **states}
    stored = {**stored, CHECKSUMS: ("uint32", (len(stored),))}
    for name in (*stored, *tensors):
        if name not in stored:
            raise _error(checkpoint, name, "is not part of such a model")
        if name not in tensors:
            raise _error(checkpoint, name, "is missing")
    offset = len(safetensors_header(stored, checkpoint.metadata)[0])
    for name, (dtype, shape) in stored.items():
        tensor = tensors[name]
        if (tensor.dtype, tensor.shape) != (dtype, shape):
            found = f"{tensor.dtype} {list(tensor.shape)}"
            raise _error(checkpoint, name, f"is {found}, expected {dtype} {list(shape)}")
        if tensor.nbytes and tensor.offset != offset:
            raise _error(checkpoint, name, f"begins at byte {tensor.offset}, expected {offset}")
        offset += prod(shape) * NUMPY_DTYPES[dtype].itemsize
    expected = tensors[CHECKSUMS].data
    for name, number in zip((n for n in stored if n != CHECKSUMS), expected, strict=True):
        if checksum_of(tensors[name].data) != number:
            raise _error(checkpoint, name, "is damaged: its checksum differs")
        on_array()
    return {name: tensors[name].data for name in layout}


def _storage(checkpoint: Checkpoint, part: Part) -> Storage:
    found = {name: (t.dtype, t.shape) for name, t in checkpoint.tensors.items()}
    for storage in get_args(Storage):
        if part.kind != "matrix" and storage in ("int8", "int4"):
            continue
        if arrays_of(part, storage).items() <= found.items():
            chosen: Storage = storage
            return chosen
    name = next(iter(arrays_of(part, "float32")))
    why = "is missing" if name not in found else f"is {found[name][0]} {list(found[name][1])}"
    raise _error(checkpoint, name, f"{why}, which its config contradicts")


def _error(checkpoint: Checkpoint, name: str, why: str) -> CheckpointError:
    return CheckpointError(f"{checkpoint.path}: array {name[:120]} {why}; convert the model again")
