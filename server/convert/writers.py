"""Writing a model in each format, some rows at a time."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path

from server.checkpoints.ai00 import METADATA as AI00_METADATA
from server.checkpoints.ai00 import ai00_name, to_ai00
from server.checkpoints.checkpoint import EPSILON_KEY, NUMPY_DTYPES, Checkpoint, Tensor
from server.checkpoints.contents import is_tuned_state
from server.checkpoints.embedding_rwkv import released_name
from server.checkpoints.gguf_writer import write_gguf
from server.checkpoints.huggingface import CONFIG, WEIGHTS
from server.checkpoints.huggingface_export import (
    fla_name,
    to_huggingface,
    to_transformers,
    transformers_name,
)
from server.checkpoints.writer import Array, Progress, stream_pieces
from server.convert.companions import Companions
from server.convert.destination import Program
from server.convert.precision import all_halves, dtypes_of, pieces_of
from server.kernels.team import Team
from server.model.config import ModelConfig, official_epsilon
from server.model.initial_state import initial_state
from server.model.loading import OnProgress, choose_dtype, layout_of, pack_weights, storages_of
from server.model.packed_config import TOKENIZER_KEY, packed_metadata
from server.model.packed_model import write_packed
from server.model.packing import Layout
from server.model.tensors import EMBEDDING

SHARD_BYTES = 5_000_000_000
"""Beyond this size weights in a folder are cut into files."""


@dataclass(frozen=True)
class Model:
    """What is to be written."""

    name: str
    checkpoint: Checkpoint
    config: ModelConfig
    companions: Companions


def write_as_safetensors(model: Model, path: Path, wanted: str, progress: Progress) -> str:
    """The official tensors in one file. Returns the dtype that most of it has."""
    checkpoint, tensors = model.checkpoint, model.checkpoint.tensors
    dtypes = dtypes_of(checkpoint, model.config, wanted)
    if model.config.generation == EMBEDDING:
        tensors = {released_name(name): tensor for name, tensor in tensors.items()}
        dtypes = {released_name(name): dtype for name, dtype in dtypes.items()}
    layout = _layout(tensors, dtypes)
    pieces = _all_pieces(checkpoint, tensors, layout)
    stream_pieces(path, layout, pieces, _metadata(model), progress)
    return _most(layout)


def write_for_ai00(model: Model, path: Path, progress: Progress) -> str:
    """One file as Ai00's own converter writes it, which is float16 throughout."""
    checkpoint = model.checkpoint
    tensors = {tensor.name: tensor for tensor in to_ai00(checkpoint).values()}
    layout = _layout(tensors, {ai00_name(n): d for n, d in all_halves(checkpoint).items()})
    pieces = _all_pieces(checkpoint, tensors, layout)
    stream_pieces(path, layout, pieces, AI00_METADATA, progress)
    return _most(layout)


def write_as_gguf(model: Model, path: Path, wanted: str, progress: Progress) -> str:
    """A file for llama.cpp, with the vocabulary and the template inside. Returns its dtype."""
    write_gguf(
        path,
        model.checkpoint,
        wanted,
        name=model.name,
        vocabulary=model.companions.vocabulary,
        chat_template=model.companions.chat_template,
        progress=progress,
    )
    return wanted


def write_as_huggingface(
    model: Model, folder: Path, wanted: str, program: Program | None, progress: Progress
) -> str:
    """config.json, model.safetensors or shards of it, and companions, in an empty folder."""
    checkpoint = model.checkpoint
    is_fla = program != "transformers"
    exported, config = to_huggingface(checkpoint) if is_fla else to_transformers(checkpoint)
    name_of = fla_name if is_fla else transformers_name
    dtypes = {name: tensor.dtype for name, tensor in exported.items()}
    dtypes |= {name_of(n): d for n, d in dtypes_of(checkpoint, model.config, wanted).items()}
    layout = _layout(exported, dtypes)
    shards = _shards(layout)
    total, before = sum(_nbytes(*entry) for entry in layout.values()), 0
    names = [f"model-{n:05d}-of-{len(shards):05d}.safetensors" for n in range(1, len(shards) + 1)]
    if len(shards) == 1:
        names = [WEIGHTS[0]]
    for name, shard in zip(names, shards, strict=True):

        def show(done: int, _: int, before: int = before) -> None:
            progress(before + done, total)

        # Without the format, transformers refuses the file.
        pieces = _all_pieces(checkpoint, exported, shard)
        stream_pieces(folder / name, shard, pieces, {"format": "pt"}, show)
        before += sum(_nbytes(*entry) for entry in shard.values())
    if len(shards) > 1:
        _write_index(folder, names, shards, total)
    config |= dict.fromkeys(config.keys() & {"torch_dtype", "dtype"}, _most(layout))
    _write_json(folder / CONFIG, config)
    for name, content in model.companions.files.items():
        (folder / name).write_bytes(content)
    return _most(layout)


def write_as_packed(
    model: Model, path: Path, wanted: str, team: Team, on_progress: OnProgress
) -> str:
    """What the kernels map as it is, on any machine. Returns the weight type."""
    checkpoint, config = model.checkpoint, model.config
    dtype = choose_dtype(wanted, config)
    parts = storages_of(checkpoint, config, dtype)
    initial_state(config, checkpoint.path, checkpoint.tensors)  # whether it is one
    states: dict[str, Array] = {
        name: tensor.to_float32()
        for name, tensor in checkpoint.tensors.items()
        if is_tuned_state(name)
    }
    metadata = packed_metadata(asdict(replace(config, packed_as=dtype)))
    metadata |= {"name": model.name, TOKENIZER_KEY: model.companions.tokenizer}

    def fill(arrays: dict[str, Array]) -> None:
        pack_weights(checkpoint, parts, arrays, team, dtype, on_progress)

    write_packed(path, metadata, layout_of(parts), states, fill)
    return dtype


def _metadata(model: Model) -> dict[str, str]:
    """That of the source and what tensors do not tell; a template goes beside the file."""
    kept = {k: v for k, v in model.checkpoint.metadata.items() if k != "chat_template"}
    kept |= {"generation": model.config.generation, "name": model.name}
    config = model.config
    if config.group_norm_epsilon != official_epsilon(config.generation, config.head_size):
        kept[EPSILON_KEY] = repr(config.group_norm_epsilon)
    return kept


def _layout(tensors: Mapping[str, Tensor], dtypes: Mapping[str, str]) -> Layout:
    """Wider dtypes first, so that every tensor lies aligned."""
    names = sorted(tensors, key=lambda name: -NUMPY_DTYPES[dtypes[name]].itemsize)
    return {name: (dtypes[name], tensors[name].shape) for name in names}


def _all_pieces(
    checkpoint: Checkpoint, tensors: Mapping[str, Tensor], layout: Layout
) -> Iterator[tuple[str, Iterator[Array]]]:
    for name, (dtype, _) in layout.items():
        yield name, pieces_of(checkpoint, tensors[name], dtype)


def _shards(layout: Layout) -> list[Layout]:
    """Cut before what would make a file larger than SHARD_BYTES."""
    shards: list[Layout] = [{}]
    size = 0
    for name, entry in layout.items():
        if shards[-1] and size + _nbytes(*entry) > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = entry
        size += _nbytes(*entry)
    return shards


def _write_index(folder: Path, names: list[str], shards: list[Layout], total: int) -> None:
    files = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
    _write_json(folder / WEIGHTS[1], {"metadata": {"total_size": total}, "weight_map": files})


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _nbytes(dtype: str, shape: tuple[int, ...]) -> int:
    return NUMPY_DTYPES[dtype].itemsize * prod(shape)


def _most(layout: Layout) -> str:
    """The dtype that most bytes have."""
    sizes = Counter[str]()
    for dtype, shape in layout.values():
        sizes[dtype] += _nbytes(dtype, shape)
    return sizes.most_common(1)[0][0]
