"""Opening a checkpoint of whatever format, told by its content."""

import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from server.checkpoints.checkpoint import (
    PACKED,
    PACKED_KEY,
    Checkpoint,
    CheckpointError,
    Tensor,
)
from server.checkpoints.embedding_rwkv import with_plain_names
from server.checkpoints.foreign_files import START_BYTES, SUPPORTED, describe, text_of
from server.checkpoints.gguf import read_gguf
from server.checkpoints.gguf_header import MAGIC as GGUF_MAGIC
from server.checkpoints.huggingface import read_folder, with_official_names
from server.checkpoints.layouts import with_official_layout
from server.checkpoints.pth import read_pth
from server.checkpoints.rwkv_cpp import MAGIC as RWKV_CPP_MAGIC
from server.checkpoints.rwkv_cpp import read_rwkv_cpp
from server.checkpoints.safetensors import read_safetensors
from server.regular_file import open_regular

__all__ = ["Checkpoint", "CheckpointError", "Tensor", "open_checkpoint"]

FORMATS: dict[str, Callable[[Path], Checkpoint]] = {
    "PyTorch": read_pth,
    "safetensors": read_safetensors,
    "GGUF": read_gguf,
    "rwkv.cpp": read_rwkv_cpp,
}
"""What reads a file, by the name of its format."""
FOLDER = "Hugging Face folder"


def open_checkpoint(path: Path) -> Checkpoint:
    """Map the tensors of a file or a Hugging Face folder, of which none is read yet.

    Raises CheckpointError, one line, for a file that is missing, foreign, truncated or hostile.
    """
    if path.is_dir():
        return with_official_layout(read_folder(path, _open_file))
    found = _open_file(path)
    if found.metadata.get(PACKED_KEY) == PACKED:
        return found  # also where it has tuned states, whose names are official
    return with_official_layout(with_official_names(with_plain_names(found)))


def format_of(path: Path) -> str:
    """What a checkpoint is, told by its content: one of the names in FORMATS, or that of a folder.

    Raises CheckpointError for anything else.
    """
    if path.is_dir():
        return FOLDER
    try:
        with open_regular(path) as file:
            start = file.read(START_BYTES)
            is_zip = zipfile.is_zipfile(file)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from None
    if start[:4] == b"PK\x03\x04":
        return "PyTorch"
    # A text may have that byte as well: its first eight would be the length of a huge header.
    if start[8:9] == b"{" and (start[7] == 0 or text_of(start) is None):
        return "safetensors"
    if start[:4] == GGUF_MAGIC:
        return "GGUF"
    if start[:4] == RWKV_CPP_MAGIC:
        return "rwkv.cpp"
    if is_zip and start[:2] != b"PK":
        raise CheckpointError(f"{path}: a zip with something before it; {SUPPORTED}")
    raise CheckpointError(f"{path}: {describe(path, start)}")


def _open_file(path: Path) -> Checkpoint:
    container = format_of(path)
    return replace(FORMATS[container](path), container=container)
