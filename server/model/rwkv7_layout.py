"""Which tensors of an RWKV-7 checkpoint make which field of Weights."""

from dataclasses import dataclass
from typing import Literal

from server.model.config import ModelConfig
from server.model.rwkv7 import MIXES

Kind = Literal["vectors", "embedding", "matrix", "low_rank"]

_VECTORS = {
    "block_norm_weight": ("ln1.weight", "ln2.weight"),
    "block_norm_bias": ("ln1.bias", "ln2.bias"),
    "mix": tuple(f"att.x_{name}" for name in MIXES),
    "decay_base": ("att.w0",),
    "rate_base": ("att.a0",),
    "first_base": ("att.v0",),
    "removal_scale": ("att.k_k",),
    "rate_scale": ("att.k_a",),
    "bonus": ("att.r_k",),
    "group_norm_weight": ("att.ln_x.weight",),
    "group_norm_bias": ("att.ln_x.bias",),
    "channel_mix": ("ffn.x_k",),
}
_MATRICES = {
    "receptance": "att.receptance.weight",
    "key": "att.key.weight",
    "value": "att.value.weight",
    "output": "att.output.weight",
    "channel_key": "ffn.key.weight",
    "channel_value": "ffn.value.weight",
}
# Stored transposed, [inputs, outputs].
_LOW_RANK = {
    "decay_down": "att.w1",
    "decay_up": "att.w2",
    "rate_down": "att.a1",
    "rate_up": "att.a2",
    "first_down": "att.v1",
    "first_up": "att.v2",
    "gate_down": "att.g1",
    "gate_up": "att.g2",
}


@dataclass(frozen=True)
class Part:
    """One field of Weights: its tensors, in the order of its leading dimensions."""

    field: str
    kind: Kind
    sources: tuple[str | None, ...]
    """Tensor names; None stands for zeros, where a layer has no such tensor."""
    leading: tuple[int, ...]
    """Dimensions that count the sources."""
    rows: int = 1
    columns: int = 1

    @property
    def steps(self) -> int:
        """How many steps of progress packing it is: one for each matrix."""
        return 0 if self.kind == "vectors" else sum(name is not None for name in self.sources)


def rwkv7_parts(config: ModelConfig) -> list[Part]:
    """All fields of Weights."""
    dim, layers = config.dim, config.layers
    parts = [
        Part("embedding", "embedding", ("emb.weight",), (), config.vocab_size, dim),
        Part("norm_weight", "vectors", ("blocks.0.ln0.weight", "ln_out.weight"), (2,), 1, dim),
        Part("norm_bias", "vectors", ("blocks.0.ln0.bias", "ln_out.bias"), (2,), 1, dim),
        Part("head", "matrix", ("head.weight",), (1,), config.vocab_size, dim),
    ]
    for field, names in _VECTORS.items():
        leading = (layers, len(names)) if len(names) > 1 else (layers,)
        parts.append(Part(field, "vectors", _sources(layers, *names), leading, 1, dim))
    for field, name in _MATRICES.items():
        rows = config.ffn_dim if field == "channel_key" else dim
        columns = config.ffn_dim if field == "channel_value" else dim
        parts.append(Part(field, "matrix", _sources(layers, name), (layers,), rows, columns))
    ranks = {
        "decay": config.decay_rank,
        "rate": config.a_rank,
        "first": max(config.v_rank, 1),  # an empty matrix would have no address
        "gate": config.gate_rank,
    }
    for field, name in _LOW_RANK.items():
        rank = ranks[field.partition("_")[0]]
        rows, columns = (rank, dim) if field.endswith("_down") else (dim, rank)
        parts.append(Part(field, "low_rank", _sources(layers, name), (layers,), rows, columns))
    return parts


def _sources(layers: int, *names: str) -> tuple[str | None, ...]:
    """The tensors of all layers; layer 0 has no value residual, for it makes the v_first."""
    return tuple(
        None if layer == 0 and name.startswith("att.v") and name[-1] in "012" else
        f"blocks.{layer}.{name}"
        for layer in range(layers)
        for name in names
    )  # fmt: skip
