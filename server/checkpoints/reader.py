"""Opening a checkpoint of whatever format, told by its content."""

import zipfile
from pathlib import Path

from server.checkpoints.checkpoint import Checkpoint, CheckpointError, Tensor
from server.checkpoints.huggingface import read_folder, with_official_names
from server.checkpoints.pth import read_pth
from server.checkpoints.safetensors import read_safetensors

__all__ = ["Checkpoint", "CheckpointError", "Tensor", "open_checkpoint"]

# What the other formats begin with.
_UNSUPPORTED = {
    b"GGUF": "a GGUF file",
    b"fmgg": "an rwkv.cpp file",
    b"lmgg": "a ggml file",
    b"tjgg": "a ggml file",
}
_SUPPORTED = "supported are safetensors and PyTorch .pth"


def open_checkpoint(path: Path) -> Checkpoint:
    """Map the tensors of a file or a Hugging Face folder, of which none is read yet.

    Raises CheckpointError, one line, for a file that is missing, foreign, truncated or hostile.
    """
    if path.is_dir():
        return read_folder(path, _open_file)
    return with_official_names(_open_file(path))


def _open_file(path: Path) -> Checkpoint:
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from None
    if start[:4] == b"PK\x03\x04":
        return read_pth(path)
    if start[8:9] == b"{":
        return read_safetensors(path)
    if start[:4] in _UNSUPPORTED:
        what = _UNSUPPORTED[start[:4]]
        raise CheckpointError(f"{path}: {what}, which is not supported yet; {_SUPPORTED}")
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
