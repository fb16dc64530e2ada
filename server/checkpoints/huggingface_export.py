"""RWKV-7 as Hugging Face folders hold it, named by flash-linear-attention or by transformers."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from server.checkpoints.checkpoint import Checkpoint, CheckpointError, Tensor
from server.checkpoints.derived import reshaped, transposed
from server.checkpoints.huggingface_config import (
    LAYER_NORM_EPSILON,
    TRANSFORMERS,
    count_layers,
)
from server.checkpoints.huggingface_names import fla7_name

_UNUSED = ("blocks.0.att.v0", "blocks.0.att.v1", "blocks.0.att.v2")
"""The value residual of layer 0, which nothing ever reads."""
_DEFAULT_VALUE_RANK = 32  # what converters write for a model of one layer, which has none


def to_huggingface(checkpoint: Checkpoint) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The lazy tensors of an RWKV-7 model as fla names and shapes them, and its config.json.

    Raises CheckpointError for what is not RWKV-7 under official names.
    """
    path, tensors = checkpoint.path, checkpoint.tensors
    exported: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name in _UNUSED:
            continue  # fla has no place for them
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
    config = _config(path, tensors) | {"architectures": ["RWKV7ForCausalLM"]}
    layers, dim, inner = (config[key] for key in ("num_hidden_layers", "hidden_size", _INNER))
    return exported, config | {
        "value_dim": [dim] * layers,
        "hidden_ratio": inner / dim,
        "hidden_act": "sqrelu",
        "norm_first": True,
        "attn": None,
        "attn_mode": "chunk",
        "fuse_norm": False,
    }


def to_transformers(checkpoint: Checkpoint) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The same as transformers' own `rwkv7` has them: official names behind a prefix.

    It wants the value residual of layer 0, too, which is zeros where the model has none. Raises
    CheckpointError for what is not RWKV-7 under official names.
    """
    path, tensors = checkpoint.path, dict(checkpoint.tensors)
    config = _config(path, tensors) | {"architectures": [TRANSFORMERS]}
    dim, rank = config["hidden_size"], config["v_low_rank_dim"]
    for name, shape in zip(_UNUSED, ((1, 1, dim), (dim, rank), (rank, dim)), strict=True):
        if name not in tensors or tensors[name].shape != shape:
            tensors[name] = Tensor(name, "float32", shape, np.zeros(shape, np.float32))
    exported: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if fla7_name(name) is None:
            raise CheckpointError(f"{path}: tensor {name[:120]} is not part of RWKV-7")
        new = transformers_name(name)
        exported[new] = replace(tensor, name=new)
        if _is_row(name):
            exported[new] = reshaped(exported[new], (1, 1, prod(tensor.shape)))
    heads = dim // config["head_dim"]
    return exported, config | {
        "num_heads": heads,
        "pad_token_id": 0,
        "use_cache": True,
        "use_deep_embed": False,
        "wkv_state_dtype": "float32",
        "dtype": config["torch_dtype"],
    }


def transformers_name(official: str) -> str:
    """What transformers' `rwkv7` calls an official tensor."""
    return official if official == "head.weight" else f"rwkv7.{official}"


def fla_name(official: str) -> str:
    """What fla calls an official tensor of RWKV-7; empty for one that it has not."""
    found = fla7_name(official)
    return "" if found is None or official in _UNUSED else found[0]


def _is_row(official: str) -> bool:
    _, _, kind = official.removeprefix("blocks.").partition(".")
    found = kind.removeprefix("att.").removeprefix("ffn.")
    return kind != found and (found[:2] in ("x_", "k_") or found in ("w0", "a0", "v0"))


_INNER = "intermediate_size"


def _config(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What config.json of either says."""

    def shape(name: str) -> tuple[int, ...]:
        if name not in tensors or len(tensors[name].shape) != 2:
            raise CheckpointError(f"{path}: tensor {name} is not part of RWKV-7, or no matrix")
        return tensors[name].shape

    vocab_size, dim = shape("emb.weight")
    layers = count_layers(tensors)
    dtypes = Counter(tensor.dtype for tensor in tensors.values() if tensor.decode is None)
    return {
        "model_type": "rwkv7",
        "vocab_size": vocab_size,
        "hidden_size": dim,
        "num_hidden_layers": layers,
        "head_dim": shape("blocks.0.att.r_k")[1],
        _INNER: shape("blocks.0.ffn.key.weight")[0],
        "decay_low_rank_dim": shape("blocks.0.att.w1")[1],
        "a_low_rank_dim": shape("blocks.0.att.a1")[1],
        "v_low_rank_dim": shape("blocks.1.att.v1")[1] if layers > 1 else _DEFAULT_VALUE_RANK,
        "gate_low_rank_dim": shape("blocks.0.att.g1")[1],
        "norm_bias": True,
        "norm_eps": LAYER_NORM_EPSILON,
        "tie_word_embeddings": False,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "torch_dtype": dtypes.most_common(1)[0][0] if dtypes else "float32",
    }
