"""Which tensors each RWKV generation has, their shapes, and which field of Weights they make.

Shapes are written in sizes by name: V vocabulary, C channels, F hidden channels, H heads of N
channels, the ranks of low-rank pairs in small letters, and multiples such as 5*mix.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from server.checkpoints.embedding_rwkv import HEADS

Kind = Literal[
    "vectors", "embedding", "deep_embedding", "matrix", "exact_matrix", "low_rank", "setting"
]
Change = Literal["none", "complement", "decay", "minus_exp"]
"""What becomes of a vector's values x: x, 1 − x, exp(−exp(x)), −exp(x)."""


@dataclass(frozen=True)
class Field:
    """One field of a generation's Weights and the tensors that make it.

    A setting is no tensor but a number of ModelConfig, which its name tells.

    Matrices are [outputs, inputs], exact ones are never rounded; low-rank ones are stored
    transposed, [inputs, outputs], several of one tensor one after another. Vectors that have one
    value for a head are repeated over it. A deep embedding is a table of each layer and the matrix
    whose products with the embedding are added to it, of the shape [columns of the table, C].
    """

    name: str
    kind: Kind
    tensors: tuple[str, ...]
    shape: str
    """Of each tensor, sizes by name. Vectors of 1 1 C may be stored as C as well."""
    more_shapes: tuple[str, ...] = ()
    """Of the tensors after the first, where they have other shapes than that."""
    per_layer: bool = True
    """Whether the names are those of a block."""
    change: Change = "none"
    absent_in_first: bool = False
    """Layer 0 has no such tensor; one that is there is never read."""


def _vectors(name: str, tensors: str, shape: str = "1 1 C", change: Change = "none") -> Field:
    return Field(name, "vectors", tuple(tensors.split()), shape, change=change)


def _matrix(name: str, tensor: str, shape: str = "C C") -> Field:
    return Field(name, "matrix", (tensor,), shape)


def _low_rank(name: str, tensor: str, shape: str, absent_in_first: bool = False) -> Field:
    return Field(name, "low_rank", (tensor,), shape, absent_in_first=absent_in_first)


_MODEL = (
    Field("embedding", "embedding", ("emb.weight",), "V C", per_layer=False),
    Field("norm_weight", "vectors", ("blocks.0.ln0.weight", "ln_out.weight"), "C", per_layer=False),
    Field("norm_bias", "vectors", ("blocks.0.ln0.bias", "ln_out.bias"), "C", per_layer=False),
    Field("head", "matrix", ("head.weight",), "V C", per_layer=False),
)
_BLOCK = (
    _vectors("block_norm_weight", "ln1.weight ln2.weight", "C"),
    _vectors("block_norm_bias", "ln1.bias ln2.bias", "C"),
    _matrix("receptance", "att.receptance.weight"),
    _matrix("key", "att.key.weight"),
    _matrix("value", "att.value.weight"),
    _matrix("output", "att.output.weight"),
    _matrix("channel_key", "ffn.key.weight", "F C"),
    _matrix("channel_value", "ffn.value.weight", "C F"),
)
_CHANNEL_RECEPTANCE = _matrix("channel_receptance", "ffn.receptance.weight")
_CHANNEL_MIX = _vectors(
    "channel_mix", "ffn.time_mix_k ffn.time_mix_r", "1 1 C", change="complement"
)
_GROUP_NORM = (
    _vectors("group_norm_weight", "att.ln_x.weight", "C"),
    _vectors("group_norm_bias", "att.ln_x.bias", "C"),
)
_EPSILON = Field("group_norm_epsilon", "setting", (), "1", per_layer=False)
_GATE = _matrix("gate", "att.gate.weight")

_RWKV4 = (
    *(*_MODEL, *_BLOCK, _CHANNEL_RECEPTANCE, _CHANNEL_MIX),
    _vectors("mix", "att.time_mix_r att.time_mix_k att.time_mix_v", change="complement"),
    _vectors("decay", "att.time_decay", "C", change="minus_exp"),
    _vectors("bonus", "att.time_first", "C"),
)
_RWKV5_0 = (
    *(*_MODEL, *_BLOCK, _CHANNEL_RECEPTANCE, _CHANNEL_MIX, *_GROUP_NORM, _EPSILON),
    _vectors("mix", "att.time_mix_r att.time_mix_k att.time_mix_v", change="complement"),
    _vectors("decay", "att.time_decay", "H", change="decay"),
    _vectors("bonus", "att.time_faaaa", "H"),
    Field("gate", "matrix", (), "0 C"),  # it has none
)
_GATED = (
    *(*_MODEL, *_BLOCK, _CHANNEL_RECEPTANCE, _CHANNEL_MIX, *_GROUP_NORM, _EPSILON, _GATE),
    _vectors(
        "mix", "att.time_mix_r att.time_mix_k att.time_mix_v att.time_mix_g", change="complement"
    ),
)
_RWKV5_1 = (
    *_GATED,
    _vectors("decay", "att.time_decay", "H", change="decay"),
    _vectors("bonus", "att.time_faaaa", "H"),
)
_RWKV5_2 = (
    *_GATED,
    _vectors("decay", "att.time_decay", "H N", change="decay"),
    _vectors("bonus", "att.time_faaaa", "H N"),
)
_RWKV6 = (
    *(*_MODEL, *_BLOCK, _CHANNEL_RECEPTANCE, *_GROUP_NORM, _GATE),
    _vectors("channel_mix", "ffn.time_maa_k ffn.time_maa_r"),
    _vectors("mix_base", "att.time_maa_x"),
    _vectors("mix", "att.time_maa_w att.time_maa_k att.time_maa_v att.time_maa_r att.time_maa_g"),
    _low_rank("mix_up", "att.time_maa_w2", "5 mix C"),
    _low_rank("mix_down", "att.time_maa_w1", "C 5*mix"),
    _vectors("decay_base", "att.time_decay"),
    _low_rank("decay_down", "att.time_decay_w1", "C decay"),
    _low_rank("decay_up", "att.time_decay_w2", "decay C"),
    _vectors("bonus", "att.time_faaaa", "H N"),
)
_RWKV7 = (
    *(*_MODEL, *_BLOCK, *_GROUP_NORM),
    _vectors("bonus", "att.r_k", "H N"),
    _vectors("mix", "att.x_r att.x_k att.x_v att.x_w att.x_a att.x_g"),
    _vectors("decay_base", "att.w0"),
    _low_rank("decay_down", "att.w1", "C decay"),
    _low_rank("decay_up", "att.w2", "decay C"),
    _vectors("rate_base", "att.a0"),
    _low_rank("rate_down", "att.a1", "C rate"),
    _low_rank("rate_up", "att.a2", "rate C"),
    Field("first_base", "vectors", ("att.v0",), "1 1 C", absent_in_first=True),
    _low_rank("first_down", "att.v1", "C first", absent_in_first=True),
    _low_rank("first_up", "att.v2", "first C", absent_in_first=True),
    _low_rank("gate_down", "att.g1", "C gate"),
    _low_rank("gate_up", "att.g2", "gate C"),
    _vectors("removal_scale", "att.k_k"),
    _vectors("rate_scale", "att.k_a"),
    _vectors("channel_mix", "ffn.x_k"),
)
_RWKV7A = (
    *_RWKV7,
    Field(
        "deep_embedding",
        "deep_embedding",
        ("ffn.s_emb.weight", "ffn.s_emb_x.weight"),
        "V 1024",  # 32 × 32: the rank that the official code is written for
        more_shapes=("1024 C",),
    ),
    _low_rank("deep_down", "ffn.s1", "C 32"),
    _low_rank("deep_up", "ffn.s2", "32 F"),
    _vectors("deep_base", "ffn.s0", "1 1 F"),
)

EMBEDDING, RERANKER = "rwkv7-embedding", "rwkv7-reranker"
END_TOKEN = 65535
"""Ends every input of an embedding model, which makes its vector of what it has read by then."""
EMBEDDING_HEADS = dict(zip(("classification", "similarity", "retrieval"), HEADS, strict=True))
"""Head of an embedding model → what its tensors call it, in the order of their arrays."""
_HEADLESS = (
    *(part for part in _RWKV7 if part.name != "head"),
    Field("head", "matrix", (), "0 C", per_layer=False),  # it has none for text
)


def _of_heads(name: str, kind: Kind, tensor: str, shape: str) -> Field:
    tensors = tuple(f"head.{head}_head.{tensor}" for head in EMBEDDING_HEADS.values())
    return Field(name, kind, tensors, shape, per_layer=False)


# https://github.com/howard-hou/EmbeddingRWKV: NonlinearHead and ReRanker of rwkv_emb/model.py
_RWKV7_EMBEDDING = (
    *_HEADLESS,
    _of_heads("head_hidden", "exact_matrix", "fc1.weight", "C C"),
    _of_heads("head_output", "exact_matrix", "fc2.weight", "C C"),
    _of_heads("head_norm_weight", "vectors", "norm.weight", "C"),
    _of_heads("head_norm_bias", "vectors", "norm.bias", "C"),
)
_RWKV7_RERANKER = (
    *_HEADLESS,
    Field("score_hidden", "exact_matrix", ("head.0.weight",), "C C", per_layer=False),
    Field("score_bias", "vectors", ("head.0.bias",), "C", per_layer=False),
    Field("score_weight", "vectors", ("head.2.weight",), "1 C", per_layer=False),
)

FIELDS: Mapping[str, tuple[Field, ...]] = {
    "rwkv4": _RWKV4,
    "rwkv5.0": _RWKV5_0,
    "rwkv5.1": _RWKV5_1,
    "rwkv5.2": _RWKV5_2,
    "rwkv6": _RWKV6,
    "rwkv7": _RWKV7,
    "rwkv7a": _RWKV7A,
}
"""Generation of a language model → the fields of its Weights."""
_WITHOUT_TEXT = {EMBEDDING: _RWKV7_EMBEDDING, RERANKER: _RWKV7_RERANKER}

# What only RWKV-7a has of a layer, and what only RWKV-7b has, whose attention also grows.
_DEEP = re.compile(r"blocks\.\d{1,4}\.ffn\.(s_emb|s_emb_x|s0|s1|s2)(\.weight)?", re.ASCII)
_DEEP_ATTENTION = re.compile(r"blocks\.\d{1,4}\.qkv\.", re.ASCII)


def fields_of(generation: str) -> tuple[Field, ...]:
    """The fields of a generation's Weights. Raises KeyError for a generation that is not known."""
    return FIELDS[generation] if generation in FIELDS else _WITHOUT_TEXT[generation]


def tensor_names(field: Field, layer: int) -> tuple[str | None, ...]:
    """The full names of a field's tensors in one layer; None for one that layer 0 has not."""
    if not field.per_layer:
        return field.tensors
    if layer == 0 and field.absent_in_first:
        return tuple(None for _ in field.tensors)
    return tuple(f"blocks.{layer}.{tensor}" for tensor in field.tensors)


def shapes_in(field: Field) -> tuple[str, ...]:
    """The shape of each of a field's tensors."""
    if field.more_shapes:
        return (field.shape, *field.more_shapes)
    return (field.shape,) * len(field.tensors)


def title_of(generation: str) -> str:
    """How people call it: RWKV-5.2, RWKV-7a, RWKV-7 embedding model."""
    title, _, kind = generation.replace("rwkv", "RWKV-").rpartition("-")
    if generation in _WITHOUT_TEXT:
        return f"{title} {'embedding model' if generation == EMBEDDING else kind}"
    return f"{title}-{kind}"


def has_deep_embedding(names: Iterable[str]) -> bool:
    """Whether tensors are those of RWKV-7a, be it that some are missing, and not a stray one."""
    return len({match[1] for name in names if (match := _DEEP.fullmatch(name))}) > 1


def is_deep_attention(name: str) -> bool:
    """Whether a tensor belongs to the DeepEmbed attention of RWKV-7b."""
    return _DEEP_ATTENTION.match(name) is not None


def resolve(shape: str, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """The numbers of a shape. Raises KeyError for a size that is not known."""
    return tuple(_resolve(size, sizes) for size in shape.split())


def _resolve(size: str, sizes: Mapping[str, int]) -> int:
    factor, _, name = size.rpartition("*")
    return int(factor or 1) * (int(name) if name.isdecimal() else sizes[name])


def shapes_of(generation: str, layers: int, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor of a checkpoint, in a fixed order."""
    fields = fields_of(generation)
    shapes: dict[str, tuple[int, ...]] = {}
    parts = [(field, 0) for field in fields if not field.per_layer]
    parts += [(f, layer) for layer in range(layers) for f in fields if f.per_layer]
    for field, layer in parts:
        for name, shape in zip(tensor_names(field, layer), shapes_in(field), strict=True):
            if name is not None:
                shapes[name] = resolve(shape, sizes)
    return shapes
