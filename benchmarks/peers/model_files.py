"""The same random model in the file format of each peer."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.programs import run
from server.checkpoints.gguf_writer import write_gguf
from server.checkpoints.reader import open_checkpoint
from server.model.initialize import SHAPES
from server.tokenizer.world import load_world_vocabulary

VOCAB_SIZE = 65_536
FILE_TYPES = ("F32", "F16", "BF16")
"""What is written without llama-quantize."""


@dataclass(frozen=True)
class ModelFiles:
    """Files of one model in a folder; each is made when it is first asked for, and kept."""

    folder: Path
    shape: str
    """A key of server.model.initialize.SHAPES."""
    llama_quantize: Path | None = None
    pure: bool = True
    """Quantise all large matrices to the named type; else the mixture that llama-quantize
    chooses, which with Q4_0 is Q6_K for the head."""

    def checkpoint(self) -> Path:
        """The safetensors file in bfloat16. Raises ProgramError, as the others do."""
        path = self._path(".safetensors")
        if not path.exists():
            layers, dim = SHAPES[self.shape]
            sizes = ["--layers", layers, "--dim", dim, "--vocab-size", VOCAB_SIZE]
            run([sys.executable, "-m", "server", "init", *sizes, "--dtype", "bfloat16", path])
        return path

    def gguf(self, file_type: str) -> Path:
        """The GGUF file with matrices of `file_type`: F16, BF16, or one of llama-quantize's."""
        path = self._path(f"-{file_type}{'' if self.pure else '-mixed'}.gguf")
        if path.exists():
            return path
        if file_type in FILE_TYPES:
            write_world_gguf(self.checkpoint(), path, file_type)
        else:
            assert self.llama_quantize
            quantize(self.llama_quantize, self.gguf("F16"), path, file_type, self.pure)
        return path

    def pth(self) -> Path:
        """Where the `rwkv` package's file is, or is to be written by whoever has PyTorch."""
        return self._path(".pth")

    def _path(self, ending: str) -> Path:
        return self.folder / f"rwkv7-{self.shape}{ending}"


def write_world_gguf(checkpoint: Path, path: Path, file_type: str) -> None:
    """As `rwkv-server convert` does, for a model with the World vocabulary."""
    known = load_world_vocabulary()
    vocabulary = [known.get(token_id, b"") for token_id in range(max(known) + 1)]
    write_gguf(path, open_checkpoint(checkpoint), file_type.lower(), vocabulary=vocabulary)


def quantize(program: Path, source: Path, path: Path, file_type: str, pure: bool = True) -> None:
    """Run llama-quantize; the file appears when it is whole. Raises ProgramError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        run([program, *(["--pure"] if pure else []), source, temporary, file_type])
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
