"""An RWKV-7 checkpoint as GGUF, as llama.cpp's architecture "rwkv7" wants it.

Tensor names, types and metadata are those that llama.cpp's own converter gives a Hugging Face
export of the same model, so that it is measured on such files as its users have.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.peers.gguf_file import Array, Value, write_gguf
from server.checkpoints.checkpoint import Checkpoint, float32_to_bfloat16
from server.model.config import ModelConfig, read_config

FILE_TYPES = {"F32": 0, "F16": 1, "BF16": 32}
"""What matrices are stored as → llama_ftype. Vectors are always F32."""

_CONTEXT = 1 << 20  # RWKV has no limit, but the key must be there
_NORMAL, _CONTROL, _UNUSED = 1, 3, 5  # token types
_OUTSIDE_BLOCKS = {
    "emb.weight": "token_embd.weight",
    "blocks.0.ln0.weight": "token_embd_norm.weight",
    "blocks.0.ln0.bias": "token_embd_norm.bias",
    "ln_out.weight": "output_norm.weight",
    "ln_out.bias": "output_norm.bias",
    "head.weight": "output.weight",
}
_PREFIXES = {
    "ln1.": "attn_norm.",
    "ln2.": "attn_norm_2.",
    "att.ln_x.": "time_mix_ln.",
    "att.": "time_mix_",
    "ffn.x_k": "channel_mix_lerp_k",
    "ffn.": "channel_mix_",
}
_TRANSPOSED = tuple(f"att.{kind}{side}" for kind in "wavg" for side in "12")
_ALWAYS_FLOAT32 = ("att.w1", "att.w2")
_LERP = tuple(f"att.x_{kind}" for kind in "rwkvag")


def write_gguf_model(
    checkpoint: Checkpoint, path: Path, file_type: str, vocabulary: Mapping[int, bytes]
) -> None:
    """Write a checkpoint of official names; `file_type` is a key of FILE_TYPES.

    `vocabulary` is id → bytes of a World tokenizer; ids that it lacks become unused tokens. Raises
    CheckpointError for what is not RWKV-7, OSError, and ValueError for values beyond float16.
    """
    config = read_config(checkpoint)
    metadata = _metadata(path.stem, config, file_type) | _tokenizer(vocabulary, config.vocab_size)
    write_gguf(path, metadata, _tensors(checkpoint, config, file_type))


def _metadata(name: str, config: ModelConfig, file_type: str) -> dict[str, Value]:
    return {
        "general.architecture": "rwkv7",
        "general.name": name,
        "general.file_type": FILE_TYPES[file_type],
        "general.quantization_version": 2,
        "rwkv7.context_length": _CONTEXT,
        "rwkv7.embedding_length": config.dim,
        "rwkv7.block_count": config.layers,
        "rwkv7.feed_forward_length": config.ffn_dim,
        "rwkv7.wkv.head_size": config.head_size,
        "rwkv7.attention.layer_norm_epsilon": 1e-5,
        "rwkv7.attention.decay_lora_rank": config.ranks["decay"],
        "rwkv7.attention.iclr_lora_rank": config.ranks["rate"],
        "rwkv7.attention.value_residual_mix_lora_rank": config.ranks["first"],
        "rwkv7.attention.gate_lora_rank": config.ranks["gate"],
        "rwkv7.attention.head_count": 0,  # wanted, though not used
    }


def _tokenizer(vocabulary: Mapping[int, bytes], size: int) -> dict[str, Value]:
    texts, types = ["<s>"], [_CONTROL]
    for token_id in range(1, size):
        known = token_id in vocabulary
        texts.append(_escaped(vocabulary[token_id]) if known else f"[PAD{token_id}]")
        types.append(_NORMAL if known else _UNUSED)
    return {
        "tokenizer.ggml.model": "rwkv",
        "tokenizer.ggml.tokens": texts,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 0,
    }


def _escaped(token: bytes) -> str:
    r"""Printable ASCII as it is, other bytes and the backslash as \xNN."""
    return "".join(chr(b) if 32 <= b < 127 and b != ord("\\") else f"\\x{b:02x}" for b in token)


def _tensors(checkpoint: Checkpoint, config: ModelConfig, file_type: str) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for name, tensor in checkpoint.tensors.items():
        block, _, part = name.removeprefix("blocks.").partition(".")
        if name in _OUTSIDE_BLOCKS:
            found[_OUTSIDE_BLOCKS[name]] = _stored(name, tensor.to_float32(), file_type)
        elif part not in _LERP:
            values = tensor.to_float32()
            values = values.T if part in _TRANSPOSED else values
            kind = "F32" if part in _ALWAYS_FLOAT32 else file_type
            found[f"blk.{block}.{_renamed(part)}"] = _stored(name, values, kind)
    for layer in range(config.layers):
        rows = [checkpoint.tensors[f"blocks.{layer}.{part}"].to_float32() for part in _LERP]
        lerp = np.stack(rows).reshape(len(_LERP), 1, 1, config.dim)
        found[f"blk.{layer}.time_mix_lerp_fused.weight"] = lerp
    # It wants a value residual in layer 0 too, of the rank that `a` has, and makes no use of it.
    for part in "012":
        found[f"blk.0.time_mix_v{part}.weight"] = found[f"blk.0.time_mix_a{part}.weight"]
    return found


def _renamed(part: str) -> str:
    """The name of a tensor within its block, from the official one."""
    prefix = next(prefix for prefix in _PREFIXES if part.startswith(prefix))
    name = _PREFIXES[prefix] + part.removeprefix(prefix)
    return name if name.endswith((".weight", ".bias")) else f"{name}.weight"


def _stored(name: str, values: Array, file_type: str) -> Array:
    """A matrix in the type of the file; [1, 1, C] and the [H, N] of r_k as a vector of float32."""
    if values.ndim != 2 or name.endswith("r_k"):
        return values.reshape(-1)
    if file_type == "BF16":
        return float32_to_bfloat16(np.ascontiguousarray(values, np.float32))
    if file_type == "F32":
        return values
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    if not np.isfinite(halves).all():
        raise ValueError(f"tensor {name} has values beyond float16; use BF16")
    return halves
