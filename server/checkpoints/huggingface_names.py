"""What the tensors of Hugging Face exports are called, beside the official (BlinkDL) names.

Two schemes are in use. That of flash-linear-attention (fla/models/rwkv7 and rwkv6) renames,
transposes and stacks; that of transformers (models/rwkv), which the RWKV organisation kept for v5
and v6, only renames.
"""

import re
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

_TRANSFORMERS_TOP = {
    "rwkv.embeddings.weight": "emb.weight",
    "rwkv.ln_out.weight": "ln_out.weight",
    "rwkv.ln_out.bias": "ln_out.bias",
}
_TRANSFORMERS_PARTS = {
    "attention": "att",
    "feed_forward": "ffn",
    "pre_ln": "ln0",
    "ln1": "ln1",
    "ln2": "ln2",
}
_TRANSFORMERS_LAYER = re.compile(
    rf"rwkv\.blocks\.(\d{{1,4}})\.({'|'.join(_TRANSFORMERS_PARTS)})\.(.+)", re.ASCII
)
_TRANSFORMERS_MIXES = {
    f"time_mix_{long}": f"time_mix_{long[0]}" for long in ("key", "value", "receptance", "gate")
}


def official_name(name: str) -> tuple[str, Change] | None:
    """An exported tensor's official name, and how the official tensor follows from it.

    Of tensors to be split it is the beginning of the names. None for a name of neither scheme.
    """
    top = _FLA_TOP.get(name) or _TRANSFORMERS_TOP.get(name)
    if top is not None:
        return top, "as is"
    if match := _FLA_LAYER.fullmatch(name):
        layer, part, rest = match.groups()
        if part not in ("attn", "ffn"):
            return f"blocks.{layer}.{_FLA_PARTS[part]}.{rest}", "as is"
        found = _FROM_FLA.get(f"{part}.{rest}")
        return None if found is None else (f"blocks.{layer}.{found[0]}", found[1])
    if match := _TRANSFORMERS_LAYER.fullmatch(name):
        layer, part, rest = match.groups()
        rest = _TRANSFORMERS_MIXES.get(rest, rest)
        return f"blocks.{layer}.{_TRANSFORMERS_PARTS[part]}.{rest}", "as is"
    return None


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
