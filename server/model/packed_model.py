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
from server.checkpoints.contents import is_tuned_state
from server.checkpoints.writer import safetensors_header
from server.model.block_checksums import (
    BLOCKS,
    CHECKSUMS,
    CheckRecord,
    OnBytes,
    checksum_of,
    is_whole,
    with_checksums,
)
from server.model.config import ModelConfig
from server.model.layout import Part, parts_of
from server.model.packed_file import Array, MappedArrays, fill_file, read_ahead
from server.model.packing import Layout, Storage, arrays_of
from server.temporary_files import replacing


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
    stored = with_checksums(stored)
    header, size = safetensors_header(stored, metadata)

    def fill_all(arrays: dict[str, Array]) -> None:
        for name, array in states.items():
            arrays[name][...] = array
        fill({name: arrays[name] for name in layout})

    with replacing(path) as temporary:
        file = os.open(temporary, os.O_RDWR)
        try:
            fill_file(file, header, size, stored, fill_all)
        finally:
            os.close(file)


def packed_parts(checkpoint: Checkpoint, config: ModelConfig) -> list[tuple[Part, Storage]]:
    """The parts of a packed model, and how its arrays store them. Raises CheckpointError."""
    return [(part, _storage(checkpoint, part)) for part in parts_of(config)]


def map_packed(
    checkpoint: Checkpoint, layout: Layout, records: Path | None, on_bytes: OnBytes
) -> MappedArrays:
    """The arrays of a packed model, mapped read-only.

    All bytes are read, and on_bytes is called, unless the records of the folder (see CheckRecord)
    say that the file has not changed since that was last done. Raises CheckpointError unless the
    arrays are exactly where write_packed() puts them, and as it did.
    """
    names = _check_places(checkpoint, layout)
    # Earlier versions wrote no checksums of blocks: then there is no sample to look at.
    has_blocks = BLOCKS in checkpoint.tensors
    record = CheckRecord(records, checkpoint) if has_blocks and records is not None else None
    if record is None or not record.holds():
        _check_all(checkpoint, names, on_bytes)
        if record is not None:
            record.write()
    elif not is_whole(checkpoint, thorough=False, on_bytes=on_bytes):
        _check_all(checkpoint, names, on_bytes)
        raise _error(checkpoint, BLOCKS, "is damaged: its checksum differs")
    read_ahead(checkpoint.path)
    return MappedArrays.of(checkpoint, layout)


def _check_places(checkpoint: Checkpoint, layout: Layout) -> list[str]:
    """The names of the arrays that have checksums, in the order of these."""
    tensors = checkpoint.tensors
    states = {n: ("float32", t.shape) for n, t in tensors.items() if is_tuned_state(n)}
    stored = with_checksums({**layout, **states})
    if BLOCKS not in tensors:
        del stored[BLOCKS]
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
    return [name for name in stored if name not in (CHECKSUMS, BLOCKS)]


def _check_all(checkpoint: Checkpoint, names: list[str], on_bytes: OnBytes) -> None:
    """Every array has its checksum."""
    total = sum(checkpoint.tensors[name].nbytes for name in names)
    done, expected = 0, checkpoint.tensors[CHECKSUMS].data
    for name, number in zip(names, expected, strict=True):
        if checksum_of(checkpoint.tensors[name].data) != number:
            raise _error(checkpoint, name, "is damaged: its checksum differs")
        done += checkpoint.tensors[name].nbytes
        on_bytes(done, total)


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
