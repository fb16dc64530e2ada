"""Where a converted model goes: its format, what is refused, and how it comes to be there whole."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, get_args

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.huggingface import CONFIG, WEIGHTS
from server.temporary_files import replacing, replacing_folder

Format = Literal["safetensors", "gguf", "huggingface", "packed"]
FORMATS: tuple[Format, ...] = get_args(Format)

Program = Literal["fla", "transformers", "ai00"]
"""Who is to load the model: flash-linear-attention, transformers' own `rwkv7`, Ai00 or web-rwkv."""
PROGRAMS: Mapping[Program, Format] = {
    "fla": "huggingface",
    "transformers": "huggingface",
    "ai00": "safetensors",
}
"""The format that each reads."""

_SUFFIXES: dict[str, Format] = {
    ".safetensors": "safetensors",
    ".st": "safetensors",
    ".gguf": "gguf",
    ".packed": "packed",
    "": "huggingface",
}
_OTHER_SUFFIXES = ".pth .pt .ckpt .bin .ggml .json .prefab .onnx .npz .h5 .zip".split()
_OURS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?")


def choose_program(wanted: str, format: Format) -> Program | None:
    """Whose names to write, of a format that is written in several ways.

    Raises CheckpointError for a program that reads another format.
    """
    for program, read in PROGRAMS.items():
        if wanted == program and read != format:
            what = "a folder" if read == "huggingface" else "a file (NAME.st)"
            raise CheckpointError(f"--for {program} reads {what}, not format {format}")
        if wanted == program:
            return program
    return "fla" if format == "huggingface" else None


def choose_format(destination: Path, wanted: str) -> Format:
    """What was asked for, or what the name says: a folder is Hugging Face's.

    Raises CheckpointError for the suffix of a format that is not written.
    """
    for name in FORMATS:
        if wanted == name:
            return name
    suffix = "" if destination.is_dir() else destination.suffix.lower()
    if suffix in _OTHER_SUFFIXES:
        raise CheckpointError(
            f"{destination}: {suffix} files are not written; name it "
            f"{', '.join(filter(None, _SUFFIXES))} or pass --format"
        )
    return _SUFFIXES.get(suffix, "huggingface")  # RWKV7-G1-0.1B is a folder's name


def check_destination(
    destination: Path, format: Format, sources: Iterable[Path], force: bool
) -> None:
    """Refuse what would overwrite a source, or without `force` anything. Raises CheckpointError."""
    for source in sources:
        for path in (destination, *(destination / name for name in (*WEIGHTS, CONFIG))):
            if path.exists() and path.samefile(source):
                raise CheckpointError(f"{destination}: is what is converted; name another place")
    if not destination.parent.is_dir():
        raise CheckpointError(f"{destination.parent}: no such folder")
    if format == "huggingface":
        if destination.exists() and not destination.is_dir():
            raise CheckpointError(f"{destination}: is a file, and a folder is to be written")
        if not force and destination.exists() and any(destination.iterdir()):
            raise CheckpointError(f"{destination}: is not empty; pass --force to write into it")
    elif destination.is_dir():
        raise CheckpointError(f"{destination}: is a folder, and a file is to be written")
    elif destination.exists() and not force:
        raise CheckpointError(f"{destination}: exists; pass --force to overwrite it")


@contextlib.contextmanager
def staged(destination: Path, format: Format) -> Iterator[Path]:
    """Where to write what is at `destination` when all went well, and else nowhere.

    Raises OSError.
    """
    if format != "huggingface":
        with replacing(destination) as temporary:
            yield temporary
        return
    place = destination.absolute()
    with replacing_folder(place) as temporary:
        yield temporary
        if place.exists():
            _move_into(temporary, place)
        else:
            temporary.replace(place)


def _move_into(folder: Path, place: Path) -> None:
    """Move files; weights of an earlier conversion, which might be read instead of them, go."""
    names = {path.name for path in folder.iterdir()}
    for path in folder.iterdir():
        path.replace(place / path.name)
    for path in place.iterdir():
        if _OURS.fullmatch(path.name) and path.name not in names:
            path.unlink()
