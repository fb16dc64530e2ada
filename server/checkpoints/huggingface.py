"""Hugging Face folders: config.json and weights in one file or in shards, as one checkpoint."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from server.checkpoints.checkpoint import Checkpoint, CheckpointError, Tensor
from server.checkpoints.folded import unfolded
from server.checkpoints.heads import has_flat_heads, with_heads
from server.checkpoints.huggingface_config import check_architecture, check_config, is_folded
from server.checkpoints.huggingface_export import to_huggingface
from server.checkpoints.huggingface_names import resolve_name
from server.checkpoints.json_file import read_json_object
from server.checkpoints.model_files import file_of
from server.checkpoints.renaming import official_names, with_shared

__all__ = [
    "CONFIG",
    "WEIGHTS",
    "find_weights",
    "read_folder",
    "shard_names",
    "to_huggingface",
    "with_official_names",
]

CONFIG = "config.json"
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""What holds the weights of a folder or names their shards, the preferred first."""

_ROWS = 4096  # of an embedding that are compared at once

OpenFile = Callable[[Path], Checkpoint]


def find_weights(folder: Path) -> Path | None:
    """The file that makes a folder a Hugging Face one; None if it is none.

    An index does by itself, a file of weights only with config.json beside it. Raises
    CheckpointError when it is a link that leads out of the folder.
    """
    for name in WEIGHTS:
        if (folder / name).is_file() and (_is_index(name) or (folder / CONFIG).is_file()):
            return file_of(folder, name)
    return None


def read_folder(folder: Path, open_file: OpenFile) -> Checkpoint:
    """All weights of a Hugging Face folder, lazily and under their official names.

    `open_file` opens one file of them. Raises CheckpointError, also when config.json does not say
    what the tensors do.
    """
    weights = find_weights(folder)
    if weights is None:
        raise CheckpointError(
            f"{folder}: a directory without config.json and weights ({WEIGHTS[0]} or an index)"
        )
    config = file_of(folder, CONFIG)
    check_architecture(config, read_json_object(config) or {})
    if _is_index(weights.name):
        found, shards = _read_shards(weights, open_file)
        return _official(replace(found, path=folder), config, (weights, *shards))
    return _official(replace(open_file(weights), path=folder), config, (weights,))


def with_official_names(checkpoint: Checkpoint) -> Checkpoint:
    """A single file as it is, unless it has the names or shapes of an export.

    config.json may be beside that.

    Raises CheckpointError.
    """
    path = checkpoint.path
    is_export = _is_export(checkpoint.tensors) or has_flat_heads(checkpoint.tensors)
    config = file_of(path, CONFIG) if is_export else None
    return _official(checkpoint, config, (path,))


def shard_names(index: Path) -> dict[str, str]:
    """Tensor → name of the file in the same folder, as an index says. Raises CheckpointError."""
    found = (read_json_object(index) or {}).get("weight_map")
    if not isinstance(found, dict) or not found:
        raise CheckpointError(f"{index}: weight_map must name a file for every tensor")
    for tensor, name in found.items():
        if not isinstance(name, str) or name in ("", ".", "..") or re.search(r"[/\\\0]", name):
            raise CheckpointError(
                f"{index}: weight_map {tensor[:120]}: {str(name)[:120]!r} must be the name of a "
                "file in the same folder"
            )
    return found


def _is_index(name: str) -> bool:
    return name.endswith(".index.json")


def _is_export(names: Iterable[str]) -> bool:
    return any((found := resolve_name(n)) is not None and found.official != n for n in names)


def _read_shards(index: Path, open_file: OpenFile) -> tuple[Checkpoint, tuple[Path, ...]]:
    weight_map = shard_names(index)
    tensors: dict[str, Tensor] = {}
    found = Checkpoint(index, {}, tensors)
    paths = tuple(file_of(index.parent, name) for name in sorted(set(weight_map.values())))
    for path in paths:
        if not path.is_file():
            raise CheckpointError(f"{path}: missing, but {index.name} names it; download it too")
        shard = open_file(path)
        found = replace(found, container=shard.container, metadata=shard.metadata)
        for name, tensor in shard.tensors.items():
            if name in tensors:
                raise CheckpointError(f"{path}: tensor {name[:120]} is in another shard as well")
            if weight_map.get(name, path.name) != path.name:
                raise CheckpointError(
                    f"{path}: tensor {name[:120]} should be in {weight_map[name]} by {index.name}"
                )
            tensors[name] = tensor
    for name, file in weight_map.items():
        if name not in tensors:
            raise CheckpointError(
                f"{index.parent / file}: tensor {name[:120]} is missing, but {index.name} names it"
            )
    return found, paths


def _official(
    checkpoint: Checkpoint, config_path: Path | None, files: tuple[Path, ...]
) -> Checkpoint:
    path = checkpoint.path
    found: Mapping[str, Tensor] = with_shared(path, checkpoint.tensors, checkpoint.metadata)
    renamed = official_names(path, found)
    tensors = dict(found if renamed is None else renamed)
    config = None if config_path is None else read_json_object(config_path)
    if config_path is not None and config is not None:
        files += (config_path,)
        check_architecture(config_path, config)
    tensors |= with_heads(path, tensors, config_path, config or {})
    if config_path is not None and config is not None:
        if config.get("tie_word_embeddings") is True and "emb.weight" in tensors:
            _tie(config_path, tensors)
        if is_folded(config_path, config, tensors) and _has_embedding(tensors):
            tensors |= unfolded(tensors["emb.weight"])
        check_config(config_path, config, tensors)
    parts = files if len(files) > 1 or path != files[0] else ()
    container = checkpoint.container if renamed is None else ""
    return replace(checkpoint, tensors=tensors, parts=parts, container=container)


def _has_embedding(tensors: Mapping[str, Tensor]) -> bool:
    return "emb.weight" in tensors and len(tensors["emb.weight"].shape) == 2


def _tie(config: Path, tensors: dict[str, Tensor]) -> None:
    """The head is the embedding. Raises CheckpointError for a head of other values."""
    embedding, head = tensors["emb.weight"], tensors.get("head.weight")
    if head is not None and not _is_same(embedding, head):
        raise CheckpointError(
            f"{config}: tie_word_embeddings, but tensor head.weight is not the embedding; set "
            "it to false to use the head"
        )
    tensors["head.weight"] = replace(embedding, name="head.weight")


def _is_same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same values, in the same dtype and form."""
    if (one.dtype, one.shape) != (other.dtype, other.shape) or not one.shape:
        return False
    pieces = (slice(first, first + _ROWS) for first in range(0, one.shape[0], _ROWS))
    return all(np.array_equal(one.to_float32(rows), other.to_float32(rows)) for rows in pieces)
