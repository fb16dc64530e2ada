"""Hugging Face folders: config.json and weights in one file or in shards, as one checkpoint."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from server.checkpoints.checkpoint import Checkpoint, CheckpointError, Tensor
from server.checkpoints.derived import reshaped, transposed
from server.checkpoints.huggingface_names import fla7_name, official_name
from server.checkpoints.huggingface_tensors import official_tensors
from server.checkpoints.json_file import read_json_object

CONFIG = "config.json"
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""What holds the weights of a folder or names their shards, the preferred first."""

_LAYER = re.compile(r"blocks\.(\d{1,4})\.")
_LAYER_NORM_EPSILON = 1e-5
# What fla and transformers could vary, and no published model does.
_ONLY: dict[str, Any] = {
    "attn": None,  # layers of a transformer in between
    "hidden_act": "sqrelu",
    "norm_eps": _LAYER_NORM_EPSILON,
    "layer_norm_epsilon": _LAYER_NORM_EPSILON,
}
_DEFAULT_VALUE_RANK = 32  # what fla's converter writes for a model of one layer, which has none

OpenFile = Callable[[Path], Checkpoint]


def find_weights(folder: Path) -> Path | None:
    """The file that makes a folder a Hugging Face one; None if it is none.

    An index does by itself, a file of weights only with config.json beside it.
    """
    for name in WEIGHTS:
        if (folder / name).is_file() and (_is_index(name) or (folder / CONFIG).is_file()):
            return folder / name
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
    files: tuple[Path, ...] = (weights,)
    tensors: Mapping[str, Tensor]
    if _is_index(weights.name):
        tensors, shards = _read_shards(weights, open_file)
        files += shards
    else:
        tensors = open_file(weights).tensors
    return _official(folder, tensors, folder / CONFIG, files)


def with_official_names(checkpoint: Checkpoint) -> Checkpoint:
    """A single file as it is, unless it has the names of an export; config.json may be beside it.

    Raises CheckpointError.
    """
    if all(official_name(name) is None for name in checkpoint.tensors):
        return checkpoint
    path = checkpoint.path
    return _official(path, checkpoint.tensors, path.parent / CONFIG, (path,), checkpoint.metadata)


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


def to_huggingface(checkpoint: Checkpoint) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The lazy tensors of an RWKV-7 model as fla names and shapes them, and its config.json.

    Raises CheckpointError for what is not RWKV-7 under official names.
    """
    path, tensors = checkpoint.path, checkpoint.tensors
    exported: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name in ("blocks.0.att.v0", "blocks.0.att.v1", "blocks.0.att.v2"):
            continue  # nothing ever reads them, and fla has no place for them
        found = fla7_name(name)
        if found is None:
            raise CheckpointError(f"{path}: tensor {name[:120]} is not part of RWKV-7")
        new, change = found
        exported[new] = replace(tensor, name=new)
        if change == "transposed":
            exported[new] = transposed(exported[new])
        elif change == "row":
            exported[new] = reshaped(exported[new], tensor.shape[-1:])
        elif ".att.x_" in name:
            exported[new] = reshaped(exported[new], (1, 1, *tensor.shape[-1:]))
    return exported, _fla7_config(path, tensors)


def _is_index(name: str) -> bool:
    return name.endswith(".index.json")


def _read_shards(index: Path, open_file: OpenFile) -> tuple[dict[str, Tensor], tuple[Path, ...]]:
    weight_map = shard_names(index)
    tensors: dict[str, Tensor] = {}
    paths = tuple(index.parent / name for name in sorted(set(weight_map.values())))
    for path in paths:
        if not path.is_file():
            raise CheckpointError(f"{path}: missing, but {index.name} names it; download it too")
        for name, tensor in open_file(path).tensors.items():
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
    return tensors, paths


def _official(
    path: Path,
    tensors: Mapping[str, Tensor],
    config_path: Path,
    files: tuple[Path, ...],
    metadata: dict[str, str] | None = None,
) -> Checkpoint:
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        official = official_name(name)
        for part in [tensor] if official is None else official_tensors(tensor, *official):
            if part.name in renamed:
                raise CheckpointError(
                    f"{path}: tensor {name[:120]}: {part.name[:120]} is there under two names"
                )
            renamed[part.name] = part
    config = read_json_object(config_path)
    if config is not None:
        files += (config_path,)
        if config.get("tie_word_embeddings") is True and "emb.weight" in renamed:
            renamed["head.weight"] = replace(renamed["emb.weight"], name="head.weight")
        _check_config(config_path, config, renamed)
    return Checkpoint(path, metadata or {}, renamed, parts=files)


def _check_config(path: Path, config: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """A config of another model, or of a variant that would be run wrongly, is an error."""
    for key, number in _sizes(tensors).items():
        said = config.get(key)
        if said is not None and (type(said) is not int or said != number):
            raise CheckpointError(
                f"{path}: {key} is {str(said)[:40]}, but by the tensors it is {number}; "
                "the file belongs to another model"
            )
    for key, value in _ONLY.items():
        said = config.get(key)
        if said is not None and said != value:
            raise CheckpointError(
                f"{path}: {key} is {str(said)[:40]}; only {value or 'null'} is supported"
            )


def _sizes(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """What keys of config.json must be, as far as the tensors tell."""
    sizes = {"num_hidden_layers": _count_layers(tensors)}
    wanted = {
        "emb.weight": ("vocab_size", "hidden_size"),
        "blocks.0.ffn.key.weight": ("intermediate_size", "hidden_size"),
        "blocks.0.att.r_k": ("num_heads", "head_dim"),
    }
    for name, keys in wanted.items():
        tensor = tensors.get(name)
        if tensor is not None and len(tensor.shape) == 2:
            sizes |= zip(keys, tensor.shape, strict=True)
    sizes.pop("num_heads", None)  # fla ignores it beside head_dim, and published ones are wrong
    return sizes


def _count_layers(names: Iterable[str]) -> int:
    return len({match[1] for name in names if (match := _LAYER.match(name))})


def _fla7_config(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    def shape(name: str) -> tuple[int, ...]:
        if name not in tensors or len(tensors[name].shape) != 2:
            raise CheckpointError(f"{path}: tensor {name} is missing or not a matrix")
        return tensors[name].shape

    vocab_size, dim = shape("emb.weight")
    layers = _count_layers(tensors)
    inner = shape("blocks.0.ffn.key.weight")[0]
    dtypes = Counter(tensor.dtype for tensor in tensors.values() if tensor.decode is None)
    return {
        "architectures": ["RWKV7ForCausalLM"],
        "model_type": "rwkv7",
        "vocab_size": vocab_size,
        "hidden_size": dim,
        "num_hidden_layers": layers,
        "head_dim": shape("blocks.0.att.r_k")[1],
        "value_dim": [dim] * layers,
        "intermediate_size": inner,
        "hidden_ratio": inner / dim,
        "decay_low_rank_dim": shape("blocks.0.att.w1")[1],
        "a_low_rank_dim": shape("blocks.0.att.a1")[1],
        "v_low_rank_dim": shape("blocks.1.att.v1")[1] if layers > 1 else _DEFAULT_VALUE_RANK,
        "gate_low_rank_dim": shape("blocks.0.att.g1")[1],
        "hidden_act": "sqrelu",
        "norm_first": True,
        "norm_bias": True,
        "norm_eps": _LAYER_NORM_EPSILON,
        "attn": None,
        "attn_mode": "chunk",
        "fuse_norm": False,
        "tie_word_embeddings": False,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "torch_dtype": dtypes.most_common(1)[0][0] if dtypes else "float32",
    }
