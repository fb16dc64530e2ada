"""What config.json of a Hugging Face folder may say: only what the tensors are."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from server.checkpoints.checkpoint import CheckpointError, Tensor

LAYER_NORM_EPSILON = 1e-5
GROUP_NORM_EPSILON = 64e-5

TRANSFORMERS = "Rwkv7ForCausalLM"
"""What transformers calls RWKV-7; fla's is RWKV7ForCausalLM."""

_LAYER = re.compile(r"blocks\.(\d{1,4})\.")
# What exporters could vary, and no published model does.
_ONLY: dict[str, Any] = {
    "attn": None,  # layers of a transformer in between
    "hidden_act": "sqrelu",
    "norm_eps": LAYER_NORM_EPSILON,
    "layer_norm_epsilon": LAYER_NORM_EPSILON,
    "use_deep_embed": False,
}
_RWKV7_ONLY: dict[str, Any] = {"group_norm_epsilon": GROUP_NORM_EPSILON}
_FOLDED = "embedding_layer_norm_fused"
_LN0 = "blocks.0.ln0.weight"
_RWKV = re.compile(r"rwkv", re.IGNORECASE)
_HYBRIDS = re.compile(r"qwen|hybrid|arwkv|llama", re.IGNORECASE)


def check_architecture(path: Path, config: Mapping[str, Any]) -> None:
    """A config of a model that is not RWKV is an error that names its architecture.

    Raises CheckpointError.
    """
    name, named = _architecture(config)
    if not name:
        return
    what = f"{path}: {name[:80]}"
    if not _RWKV.search(named):
        raise CheckpointError(f"{what} is not RWKV; only models of RWKV-4 to 7 are run")
    if _HYBRIDS.search(named):
        raise CheckpointError(
            f"{what}: a model of another kind with RWKV's attention in it is not supported; only "
            "RWKV-4 to 7 are"
        )


def _architecture(config: Mapping[str, Any]) -> tuple[str, str]:
    """What to call it, and all that says what it is."""
    found = config.get("architectures")
    architectures = [str(name) for name in found] if isinstance(found, list) else []
    kind = config.get("model_type")
    kinds = [kind] if isinstance(kind, str) and kind else []
    said = [*architectures, *kinds]
    if not said:
        return "", ""
    name = said[0] if architectures else f"model_type {said[0]}"
    return name, " ".join(said)


def check_config(path: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """A config of another model, or of a variant that would be run wrongly, is an error.

    `tensors` have their official names. Raises CheckpointError.
    """
    for key, number in _sizes(tensors, config).items():
        said = config.get(key)
        if said is not None and (type(said) is not int or said != number):
            raise CheckpointError(
                f"{path}: {key} is {str(said)[:40]}, but by the tensors it is {number}; "
                "config.json and the weights are of two models"
            )
    only = _ONLY | (_RWKV7_ONLY if "blocks.0.att.r_k" in tensors else {})
    for key, value in only.items():
        said = config.get(key)
        if said is not None and said != value:
            supported = "null" if value is None else value
            raise CheckpointError(
                f"{path}: {key} is {str(said)[:40]}; only {supported} is supported"
            )


def is_folded(path: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bool:
    """Whether ln0 is folded into the embedding: the config says so, and there is no ln0.

    Raises CheckpointError where one says so alone.
    """
    said = config.get(_FOLDED, False)
    if not isinstance(said, bool):
        raise CheckpointError(f"{path}: {_FOLDED} is {str(said)[:40]}, not true or false")
    if said and (_LN0 in tensors or any(".ffn.s_emb" in name for name in tensors)):
        there = "ln0" if _LN0 in tensors else "a DeepEmbed, which needs the unnormed embedding,"
        raise CheckpointError(
            f"{path}: {_FOLDED}, but {there} is among the tensors; convert the original .pth again"
        )
    if not said and _LN0 not in tensors and "blocks.0.ln1.weight" in tensors:
        raise CheckpointError(
            f"{path}: tensor {_LN0} is missing, and {_FOLDED} does not say that the embedding has "
            "it folded in; convert the original .pth again"
        )
    return said


def count_layers(names: Iterable[str]) -> int:
    """How many blocks there are, by official names."""
    return len({match[1] for name in names if (match := _LAYER.match(name))})


def _sizes(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, int]:
    """What keys of config.json must be, as far as the tensors tell."""
    sizes = {"num_hidden_layers": count_layers(tensors)}
    wanted = {
        "emb.weight": ("vocab_size", "hidden_size"),
        "blocks.0.ffn.key.weight": ("intermediate_size", "hidden_size"),
        "blocks.0.att.r_k": ("num_heads", "head_dim"),
        "blocks.0.att.w1": ("hidden_size", "decay_low_rank_dim"),
        "blocks.0.att.a1": ("hidden_size", "a_low_rank_dim"),
        "blocks.1.att.v1": ("hidden_size", "v_low_rank_dim"),
        "blocks.0.att.g1": ("hidden_size", "gate_low_rank_dim"),
    }
    for name, keys in wanted.items():
        tensor = tensors.get(name)
        if tensor is not None and len(tensor.shape) == 2:
            sizes |= zip(keys, tensor.shape, strict=True)
    heads, head_size = sizes.pop("num_heads", 0), sizes.get("head_dim", 0)
    if heads and TRANSFORMERS in (config.get("architectures") or ()):
        # fla ignores its num_heads beside head_dim, and published ones are wrong.
        sizes |= {"num_heads": heads, "num_attention_heads": heads, "head_size": head_size}
    return sizes
