"""How GGUF names and shapes the tensors of RWKV-6 and RWKV-7: one table to read and to write by.

The names are those of llama.cpp (gguf-py/gguf/constants.py), the shapes what its converter makes
of the official ones (conversion of rwkv6 and rwkv7 in convert_hf_to_gguf.py).
"""

import re
from dataclasses import dataclass
from typing import Literal

Layout = Literal["same", "row", "transposed", "flat"]
"""Official → GGUF: as it is | [1, 1, C] → [C] | last two dimensions swapped | [H, N] → [C]."""

Precision = Literal["float32", "half", "any"]
"""What a tensor may be written as: float32 only | at least 16 bits | also blocks."""

FUSED = "time_mix_lerp_fused.weight"
"""[kinds, 1, 1, C]: the mixes of token shift, stacked."""

_LAYER = re.compile(r"blk\.(0|[1-9]\d{0,3})\.(.+)", re.DOTALL)


@dataclass(frozen=True)
class Entry:
    """One tensor of a layer, or of the model: its two names and what differs."""

    official: str
    gguf: str
    layout: Layout = "same"
    precision: Precision = "float32"


@dataclass(frozen=True)
class Architecture:
    """The tensors of one generation."""

    name: str
    layer: tuple[Entry, ...]
    fused: tuple[str, ...]
    """Official names of what FUSED holds, in its order."""
    separate: tuple[Entry, ...] = ()
    """The same tensors as files from before FUSED have them; only read."""
    rescaled: frozenset[str] = frozenset()
    """Official names of what is stored divided by 2 for every `rescale_every_n_layers`."""


def _both(official: str, gguf: str) -> tuple[Entry, Entry]:
    return tuple(Entry(f"{official}.{part}", f"{gguf}.{part}") for part in ("weight", "bias"))  # type: ignore[return-value]


def _matrix(official: str, gguf: str) -> Entry:
    return Entry(f"{official}.weight", f"{gguf}.weight", precision="any")


def _row(official: str, gguf: str) -> Entry:
    return Entry(official, f"{gguf}.weight", "row")


def _low_rank(official: str, gguf: str, precision: Precision = "float32") -> Entry:
    return Entry(official, f"{gguf}.weight", "transposed", precision)


MODEL = (
    _matrix("emb", "token_embd"),
    *_both("blocks.0.ln0", "token_embd_norm"),
    *_both("ln_out", "output_norm"),
    _matrix("head", "output"),
)
"""What both generations have outside of the layers."""

_LAYER_OF_BOTH = (
    *_both("ln1", "attn_norm"),
    *_both("ln2", "attn_norm_2"),
    *_both("att.ln_x", "time_mix_ln"),
    *(_matrix(f"att.{m}", f"time_mix_{m}") for m in ("receptance", "key", "value", "output")),
    _matrix("ffn.key", "channel_mix_key"),
    _matrix("ffn.value", "channel_mix_value"),
)

RWKV6 = Architecture(
    "rwkv6",
    (
        *_LAYER_OF_BOTH,
        _matrix("att.gate", "time_mix_gate"),
        _row("att.time_maa_x", "time_mix_lerp_x"),
        _low_rank("att.time_maa_w1", "time_mix_w1"),
        _low_rank("att.time_maa_w2", "time_mix_w2"),
        _row("att.time_decay", "time_mix_decay"),
        _low_rank("att.time_decay_w1", "time_mix_decay_w1"),
        _low_rank("att.time_decay_w2", "time_mix_decay_w2"),
        Entry("att.time_faaaa", "time_mix_first.weight"),
        _row("ffn.time_maa_k", "channel_mix_lerp_k"),
        _row("ffn.time_maa_r", "channel_mix_lerp_r"),
        _matrix("ffn.receptance", "channel_mix_receptance"),
    ),
    fused=tuple(f"att.time_maa_{kind}" for kind in "wkvrg"),
    separate=tuple(_row(f"att.time_maa_{kind}", f"time_mix_lerp_{kind}") for kind in "wkvrg"),
    rescaled=frozenset({"att.output.weight", "ffn.value.weight"}),
)

RWKV7 = Architecture(
    "rwkv7",
    (
        *_LAYER_OF_BOTH,
        *(_row(f"att.{kind}0", f"time_mix_{kind}0") for kind in "wav"),
        *(_low_rank(f"att.w{side}", f"time_mix_w{side}") for side in "12"),
        *(
            _low_rank(f"att.{k}{side}", f"time_mix_{k}{side}", "half")
            for k in "avg"
            for side in "12"
        ),
        _row("att.k_k", "time_mix_k_k"),
        _row("att.k_a", "time_mix_k_a"),
        Entry("att.r_k", "time_mix_r_k.weight", "flat"),
        _row("ffn.x_k", "channel_mix_lerp_k"),
    ),
    fused=tuple(f"att.x_{kind}" for kind in "rwkvag"),
)

ARCHITECTURES = {architecture.name: architecture for architecture in (RWKV6, RWKV7)}

VALUE_RESIDUAL = ("att.v0", "att.v1", "att.v2")
"""What layer 0 of RWKV-7 does not use, but llama.cpp wants: its converter repeats att.a0 … a2."""


def split_layer(name: str) -> tuple[int, str] | None:
    """(layer, name within it) of a GGUF tensor; None for those of the model."""
    match = _LAYER.fullmatch(name)
    return (int(match[1]), match[2]) if match else None
