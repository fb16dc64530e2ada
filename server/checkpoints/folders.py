"""The one checkpoint in a folder that is no Hugging Face one, told by what its files hold."""

import re
from collections.abc import Iterable
from pathlib import Path, PurePath

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.huggingface import find_weights, shard_names
from server.checkpoints.model_files import entries_of, file_of
from server.checkpoints.reader import open_checkpoint

TRAINER_SUFFIXES = (".ckpt", ".pt")
"""What Lightning and others call checkpoints, and much else of a training."""
SUFFIXES = (".safetensors", ".st", ".pth", ".gguf", ".bin", ".packed", *TRAINER_SUFFIXES)
SAFETENSORS_SUFFIXES = (".safetensors", ".st")
MAX_OPENED = 64
"""Files of a folder that are looked into: a data set has thousands of .pt."""
_OPEN = (".bin", *TRAINER_SUFFIXES)
"""Of them, what files are called that may hold anything, such as training_args.bin."""

_SHARD = re.compile(r".+-(\d{5})-of-(\d{5})", re.ASCII)
_DEEPSPEED = "zero_to_fp32.py"
_MOST_LISTED = 8


def only_checkpoint(folder: Path) -> Path:
    """The file of a folder that holds a model. Raises CheckpointError for none, or several."""
    there = [p for p in entries_of(folder) if p.suffix in SUFFIXES and p.is_file()]
    files = [path for path in there if not is_shard(path)]
    found = [path for path in files if path.suffix not in _OPEN]
    reason = ""  # why the largest, which is the likeliest to be meant, is none
    for path in _largest(path for path in files if path.suffix in _OPEN):
        why = _why_no_model(folder, path.name)
        reason = reason or why
        found += [] if why else [path]
    found.sort()
    if len(found) == 1:
        return file_of(folder, found[0].name)
    if found:
        raise CheckpointError(
            f"{folder}: {len(found)} checkpoints in it, name one: {_listed(found)}"
        )
    check_whole(folder, there)
    why = f"; {reason}" if reason else ""
    if (folder / _DEEPSPEED).exists():
        why = f"; a checkpoint of DeepSpeed: run its {_DEEPSPEED} to make one file of it"
    raise CheckpointError(f"{folder}: no checkpoint in it ({', '.join(SUFFIXES)}){why}")


def check_whole(place: Path, files: Iterable[Path]) -> None:
    """Raise CheckpointError for files that by their names are parts of a model."""
    shards = [path for path in files if is_shard(path)]
    if not shards:
        return
    index = shards[0].with_name(
        re.sub(r"-\d{5}-of-\d{5}$", "", shards[0].stem) + f"{shards[0].suffix}.index.json"
    )
    if shards[0].suffix == ".gguf":
        todo = "join them with `llama-gguf-split --merge`"
    elif index.exists():
        todo = f"name the folder, {index.parent}"
    else:
        todo = f"{index.name} is missing, which says what is in which; download it next to them"
    what = "one of several parts" if place == shards[0] else f"parts ({_listed(shards)})"
    raise CheckpointError(f"{place}: {what} of a model; {todo}")


def is_shard(path: PurePath) -> bool:
    """Whether a file is one of several by its name, such as model-00001-of-00002.safetensors."""
    match = _SHARD.fullmatch(path.stem)
    return match is not None and int(match[2]) > 1


def weights_of(checkpoint: Path) -> list[Path]:
    """The files of weights of a checkpoint, a file or a Hugging Face folder.

    Raises CheckpointError.
    """
    weights = find_weights(checkpoint) if checkpoint.is_dir() else checkpoint
    if weights is None or not weights.name.endswith(".index.json"):
        return [weights] if weights else []
    return [file_of(checkpoint, name) for name in sorted(set(shard_names(weights).values()))]


def _largest(files: Iterable[Path]) -> list[Path]:
    """At most MAX_OPENED, the largest first. Raises CheckpointError for one that is gone."""
    try:
        return sorted(files, key=lambda path: path.stat().st_size, reverse=True)[:MAX_OPENED]
    except OSError as error:
        raise CheckpointError(f"{error.filename}: {error.strerror}") from None


def _why_no_model(folder: Path, name: str) -> str:
    """Empty if a file holds a model."""
    try:
        tensors = open_checkpoint(file_of(folder, name)).tensors
    except CheckpointError as error:
        return str(error)
    return "" if "emb.weight" in tensors else f"{name} holds no model"


def _listed(paths: list[Path]) -> str:
    names = ", ".join(path.name for path in paths[:_MOST_LISTED])
    return names + (", …" if len(paths) > _MOST_LISTED else "")
