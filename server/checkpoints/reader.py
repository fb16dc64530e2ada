"""Opening a checkpoint of whatever format, told by its content."""

import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from server.checkpoints.checkpoint import Checkpoint, CheckpointError, Tensor
from server.checkpoints.derived import computed
from server.checkpoints.gguf import read_gguf
from server.checkpoints.gguf_header import MAGIC as GGUF_MAGIC
from server.checkpoints.huggingface import read_folder, with_official_names
from server.checkpoints.pth import read_pth
from server.checkpoints.rwkv_cpp import MAGIC as RWKV_CPP_MAGIC
from server.checkpoints.rwkv_cpp import read_rwkv_cpp
from server.checkpoints.safetensors import read_safetensors

__all__ = ["Checkpoint", "CheckpointError", "Tensor", "open_checkpoint"]

# What the files of llama.cpp from before GGUF begin with.
_OLD_GGML = (b"lmgg", b"tjgg")
FORMATS: dict[str, Callable[[Path], Checkpoint]] = {
    "PyTorch": read_pth,
    "safetensors": read_safetensors,
    "GGUF": read_gguf,
    "rwkv.cpp": read_rwkv_cpp,
}
"""What reads a file, by the name of its format."""
FOLDER = "Hugging Face folder"

_SUPPORTED = "supported are safetensors, PyTorch .pth, GGUF and rwkv.cpp .bin"


def open_checkpoint(path: Path) -> Checkpoint:
    """Map the tensors of a file or a Hugging Face folder, of which none is read yet.

    Raises CheckpointError, one line, for a file that is missing, foreign, truncated or hostile.
    """
    if path.is_dir():
        return _with_plain_bonus(read_folder(path, _open_file))
    return _with_plain_bonus(with_official_names(_open_file(path)))


def _with_plain_bonus(checkpoint: Checkpoint) -> Checkpoint:
    """RWKV-5.0 has the logarithm of the bonus, called time_first: here it is as in later ones."""
    if "blocks.0.att.ln_x.weight" not in checkpoint.tensors:
        return checkpoint
    tensors = {}
    for name, tensor in checkpoint.tensors.items():
        if name.endswith(".att.time_first"):
            name = name.replace("time_first", "time_faaaa")
            tensor = replace(computed(tensor, np.exp), name=name)
        tensors[name] = tensor
    return replace(checkpoint, tensors=tensors)


def format_of(path: Path) -> str:
    """What a checkpoint is, told by its content: one of the names in FORMATS, or that of a folder.

    Raises CheckpointError for anything else.
    """
    if path.is_dir():
        return FOLDER
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from None
    if start[:4] == b"PK\x03\x04":
        return "PyTorch"
    if start[8:9] == b"{":
        return "safetensors"
    if start[:4] == GGUF_MAGIC:
        return "GGUF"
    if start[:4] == RWKV_CPP_MAGIC:
        return "rwkv.cpp"
    if start[:4] in _OLD_GGML:
        raise CheckpointError(f"{path}: a ggml file from before GGUF; {_SUPPORTED}")
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise CheckpointError(
            f"{path}: a pickle of PyTorch before 1.6, which is not supported; "
            "load it and torch.save() it again"
        )
    if not start:
        raise CheckpointError(f"{path}: the file is empty")
    if zipfile.is_zipfile(path):
        raise CheckpointError(f"{path}: a zip with something before it; {_SUPPORTED}")
    raise CheckpointError(f"{path}: not a known checkpoint format; {_SUPPORTED}")


def _open_file(path: Path) -> Checkpoint:
    return FORMATS[format_of(path)](path)
