"""What the tensors of Hugging Face exports are called, beside the official (BlinkDL) names.

Two schemes are in use. That of flash-linear-attention (fla/models/rwkv7 and rwkv6) renames,
transposes and stacks; that of transformers only renames: models/rwkv, which the RWKV organisation
kept for v5 and v6, and rwkv7, whose names are the official ones behind a prefix. Trainers put
prefixes of their own before either.
"""

import re
from dataclasses import dataclass
from typing import Literal

Change = Literal["as is", "row", "transposed", "mixes", "biases", "mix down", "mix up"]
"""How an official tensor follows from the exported one; huggingface_tensors.py makes it so.

row: [C] → [1, 1, C]; transposed: [A, B] → [B, A]; mixes: row i of [6, C] is x_MIX_ORDER[i];
biases: row i of [5, C] is time_maa_BRANCHES[i]; mix down, mix up: the branches are in another
order.
"""

MIX_ORDER = "rwkvag"
"""The rows of fla's first RWKV-7 layout, which had one tensor for all token shifts."""
BRANCHES = "rwkvg"
"""The order of fla's RWKV-6 branches."""
OFFICIAL_BRANCHES = "wkvrg"
"""The order of the same in time_maa_w1 and time_maa_w2."""

_FLA_TOP = {
    "model.embeddings.weight": "emb.weight",
    "model.norm.weight": "ln_out.weight",
    "model.norm.bias": "ln_out.bias",
    "lm_head.weight": "head.weight",
}
_FLA_PARTS = {
    "attn": "att",
    "ffn": "ffn",
    "pre_norm": "ln0",
    "attn_norm": "ln1",
    "ffn_norm": "ln2",
}
_FLA_LAYER = re.compile(rf"model\.layers\.(\d{{1,4}})\.({'|'.join(_FLA_PARTS)})\.(.+)", re.ASCII)

FLA7: dict[str, tuple[str, Change]] = {
    **{f"att.x_{kind}": (f"attn.x_{kind}", "as is") for kind in MIX_ORDER},
    **{f"att.{kind}0": (f"attn.{kind}_lora.lora.2.bias", "row") for kind in "wav"},
    **{f"att.{kind}1": (f"attn.{kind}_lora.lora.0.weight", "transposed") for kind in "wavg"},
    **{f"att.{kind}2": (f"attn.{kind}_lora.lora.2.weight", "transposed") for kind in "wavg"},
    "att.k_k": ("attn.k_k", "row"),
    "att.k_a": ("attn.k_a", "row"),
    "att.r_k": ("attn.r_k", "as is"),
    "att.receptance.weight": ("attn.r_proj.weight", "as is"),
    "att.key.weight": ("attn.k_proj.weight", "as is"),
    "att.value.weight": ("attn.v_proj.weight", "as is"),
    "att.output.weight": ("attn.o_proj.weight", "as is"),
    "att.ln_x.weight": ("attn.g_norm.weight", "as is"),
    "att.ln_x.bias": ("attn.g_norm.bias", "as is"),
    "ffn.x_k": ("ffn.x_k", "row"),
    "ffn.key.weight": ("ffn.key.weight", "as is"),
    "ffn.value.weight": ("ffn.value.weight", "as is"),
}
"""Of RWKV-7: what an official tensor of a layer is called by fla, and how it follows from that."""

_FLA6: dict[str, tuple[str, Change]] = {
    "att.time_maa_x": ("attn.x_proj.0.mu", "row"),
    "att.time_maa_w1": ("attn.x_proj.0.linear.weight", "mix down"),
    "att.time_maa_w2": ("attn.x_proj.2.weight", "mix up"),
    "att.time_decay": ("attn.w_proj.linear.lora.2.bias", "row"),
    "att.time_decay_w1": ("attn.w_proj.linear.lora.0.weight", "transposed"),
    "att.time_decay_w2": ("attn.w_proj.linear.lora.2.weight", "transposed"),
    "att.time_faaaa": ("attn.bonus", "as is"),
    "att.receptance.weight": ("attn.r_proj.linear.weight", "as is"),
    "att.key.weight": ("attn.k_proj.linear.weight", "as is"),
    "att.value.weight": ("attn.v_proj.linear.weight", "as is"),
    "att.gate.weight": ("attn.g_proj.linear.weight", "as is"),
    "ffn.time_maa_k": ("ffn.key.mu", "row"),
    "ffn.time_maa_r": ("ffn.receptance.mu", "row"),
    "ffn.key.weight": ("ffn.key.linear.weight", "as is"),
    "ffn.receptance.weight": ("ffn.receptance.linear.weight", "as is"),
}
_OFFICIAL_LAYER = re.compile(r"blocks\.(\d{1,4})\.(\w+)\.(.+)", re.ASCII)
# No name of one generation is a name of the other's with another meaning.
_FROM_FLA = {
    exported: (official, change)
    for table in (FLA7, _FLA6)
    for official, (exported, change) in table.items()
} | {"attn.x_x": ("att.x_", "mixes"), "attn.x_bias": ("att.time_maa_", "biases")}

_BLOCKS_TOP = {
    "emb.weight": "emb.weight",
    "embeddings.weight": "emb.weight",
    "ln_out.weight": "ln_out.weight",
    "ln_out.bias": "ln_out.bias",
    "head.weight": "head.weight",
}
_OFFICIAL_ONLY = ("emb.weight", "head.weight")  # never behind `rwkv.`
_BLOCKS_PARTS = {"attention": "att", "feed_forward": "ffn", "pre_ln": "ln0"}
_BLOCKS_LAYER = re.compile(r"blocks\.(\d{1,4})\.(\w+)\.(.+)", re.ASCII)
_LONG_MIXES = {
    f"time_mix_{long}": f"time_mix_{long[0]}" for long in ("key", "value", "receptance", "gate")
}
_LINEAR = re.compile(r"([wavg][12])\.weight", re.ASCII)
"""A low-rank matrix of RWKV-7 as the weight of a torch Linear, which is [outputs, inputs]."""

_WRAPPERS = re.compile(
    r"(?:^|(?<=\.))"
    r"(?:_forward_module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.",
    re.ASCII,
)
"""What DeepSpeed, torch.compile and FSDP put into names, anywhere."""
_CONTAINERS = ("module", "model", "rwkv7")
"""What the names of everything within a module of somebody's begin with, trainers' or Hugging
Face's."""
_MOST_CONTAINERS = 6


@dataclass(frozen=True)
class Resolved:
    """What an exported name stands for."""

    official: str
    """The official name; of tensors to be split the beginning of their names."""
    change: Change
    scheme: str
    """Equal for two names of layers that one exporter gave."""


def resolve_name(name: str) -> Resolved | None:
    """The official name behind one of an export, or of a trainer; None for any other name."""
    wrapper = _WRAPPERS.match(name)
    bare, prefix = _WRAPPERS.sub("", name), wrapper[0] if wrapper else ""
    for _ in range(_MOST_CONTAINERS):
        found = _from_fla(bare)
        if found is not None:
            return Resolved(*found, scheme=f"{prefix}model.layers.")
        inner = bare.removeprefix("rwkv.")
        if (found := _from_blocks(inner, is_bare=inner == bare)) is not None:
            return Resolved(*found, scheme=f"{prefix}{bare[: len(bare) - len(inner)]}blocks.")
        first, _, bare = bare.partition(".")
        if first not in _CONTAINERS:
            return None
        prefix += f"{first}."
    return None


def official_name(name: str) -> tuple[str, Change] | None:
    """An exported tensor's official name, and how the official tensor follows from it.

    Of tensors to be split it is the beginning of the names. None for a name of no known scheme.
    """
    found = resolve_name(name)
    return None if found is None else (found.official, found.change)


def _from_fla(name: str) -> tuple[str, Change] | None:
    if top := _FLA_TOP.get(name):
        return top, "as is"
    match = _FLA_LAYER.fullmatch(name)
    if match is None:
        return None
    layer, part, rest = match.groups()
    if part not in ("attn", "ffn"):
        return f"blocks.{layer}.{_FLA_PARTS[part]}.{rest}", "as is"
    found = _FROM_FLA.get(f"{part}.{rest}")
    return None if found is None else (f"blocks.{layer}.{found[0]}", found[1])


def _from_blocks(name: str, is_bare: bool) -> tuple[str, Change] | None:
    """Of the official names, and those of transformers: `rwkv.`, unless it is bare, came off."""
    if (top := _BLOCKS_TOP.get(name)) and (is_bare or name not in _OFFICIAL_ONLY):
        return top, "as is"
    match = _BLOCKS_LAYER.fullmatch(name)
    if match is None or (not is_bare and match[2] in ("att", "ffn")):
        return None
    layer, part, rest = match.groups()
    if part in ("attention", "feed_forward"):
        rest = _LONG_MIXES.get(rest, rest)
    part = _BLOCKS_PARTS.get(part, part)
    if part == "att" and (linear := _LINEAR.fullmatch(rest)):
        return f"blocks.{layer}.att.{linear[1]}", "transposed"
    return f"blocks.{layer}.{part}.{rest}", "as is"


def fla7_name(official: str) -> tuple[str, Change] | None:
    """What fla calls an official tensor of RWKV-7, and how the official one follows from it."""
    for exported, name in _FLA_TOP.items():
        if name == official:
            return exported, "as is"
    match = _OFFICIAL_LAYER.fullmatch(official)
    if match is None:
        return None
    layer, part, suffix = match.groups()
    for exported, name in _FLA_PARTS.items():
        if name == part and part.startswith("ln"):
            return f"model.layers.{layer}.{exported}.{suffix}", "as is"
    found = FLA7.get(f"{part}.{suffix}")
    return None if found is None else (f"model.layers.{layer}.{found[0]}", found[1])
