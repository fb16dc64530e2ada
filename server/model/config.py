"""What a model is: its generation and sizes, read from the tensors of a checkpoint and checked."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from server.checkpoints.checkpoint import Checkpoint, CheckpointError, Tensor

_LAYER = re.compile(r"blocks\.(\d{1,4})\.")
_VALUE_RESIDUAL_OF_FIRST = tuple(f"blocks.0.att.{name}" for name in ("v0", "v1", "v2"))


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of a model. `*_rank` are the inner sizes of the low-rank pairs w, a, v and g."""

    generation: str
    layers: int
    dim: int
    heads: int
    head_size: int
    vocab_size: int
    ffn_dim: int
    decay_rank: int
    a_rank: int
    v_rank: int
    """0 for a model of one layer, which has no value residual."""
    gate_rank: int
    parameters: int = 0
    stored_dtype: str = "float32"
    """The dtype that most of the checkpoint's bytes have."""

    @property
    def state_bytes(self) -> int:
        """Size of one sequence's state in float32: two shifted rows and the heads per layer."""
        return self.layers * (2 * self.dim + self.heads * self.head_size**2) * 4


def read_config(checkpoint: Checkpoint) -> ModelConfig:
    """Tell the generation and sizes; check the presence, shape and dtype of every tensor.

    Raises CheckpointError that names the file and the tensor.
    """
    path, tensors = checkpoint.path, checkpoint.tensors
    generation = _generation(tensors)
    if generation is None:
        raise CheckpointError(f"{path}: not an RWKV checkpoint (no blocks.0.att.* tensors)")
    if generation != "RWKV-7":
        raise CheckpointError(f"{path}: {generation}; only RWKV-7 is supported so far")
    config = _read_sizes(path, tensors)
    _check_tensors(path, tensors, config)
    return config


def rwkv7_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor of an RWKV-7 checkpoint, in a fixed order."""
    dim, row = config.dim, (config.dim,)
    shapes: dict[str, tuple[int, ...]] = {"emb.weight": (config.vocab_size, dim)}
    for layer in range(config.layers):
        block = f"blocks.{layer}"
        for norm in ("ln0", "ln1", "ln2") if layer == 0 else ("ln1", "ln2"):
            shapes |= {f"{block}.{norm}.weight": row, f"{block}.{norm}.bias": row}
        for name, shape in _time_mixing_shapes(config, layer).items():
            shapes[f"{block}.att.{name}"] = shape
        shapes[f"{block}.ffn.x_k"] = (1, 1, dim)
        shapes[f"{block}.ffn.key.weight"] = (config.ffn_dim, dim)
        shapes[f"{block}.ffn.value.weight"] = (dim, config.ffn_dim)
    shapes |= {"ln_out.weight": row, "ln_out.bias": row}
    shapes["head.weight"] = (config.vocab_size, dim)
    return shapes


def _time_mixing_shapes(config: ModelConfig, layer: int) -> dict[str, tuple[int, ...]]:
    dim, row = config.dim, (1, 1, config.dim)
    shapes: dict[str, tuple[int, ...]] = {f"x_{kind}": row for kind in "rwkvag"}
    ranks = {"w": config.decay_rank, "a": config.a_rank, "v": config.v_rank, "g": config.gate_rank}
    for kind, rank in ranks.items():
        if kind == "v" and layer == 0:  # layer 0 makes the v_first that the others mix in
            continue
        if kind != "g":
            shapes[f"{kind}0"] = row
        shapes |= {f"{kind}1": (dim, rank), f"{kind}2": (rank, dim)}
    shapes |= {"k_k": row, "k_a": row, "r_k": (config.heads, config.head_size)}
    for matrix in ("receptance", "key", "value", "output"):
        shapes[f"{matrix}.weight"] = (dim, dim)
    return shapes | {"ln_x.weight": (dim,), "ln_x.bias": (dim,)}


def _generation(tensors: Mapping[str, Tensor]) -> str | None:
    """By the tensors that only one generation has; None for what is no RWKV at all."""
    if "blocks.0.att.r_k" in tensors or "blocks.0.att.k_k" in tensors:
        return "RWKV-7"
    if "blocks.0.att.time_maa_x" in tensors:
        return "is an RWKV-6 checkpoint"
    if "blocks.0.att.time_decay" in tensors:
        version = 5 if "blocks.0.att.ln_x.weight" in tensors else 4
        return f"is an RWKV-{version} checkpoint"
    if any(name.startswith(("model.layers.", "rwkv.blocks.", "model.emb")) for name in tensors):
        return "has the tensor names of a Hugging Face export instead of the official ones"
    return None


def _read_sizes(path: Path, tensors: Mapping[str, Tensor]) -> ModelConfig:
    """The sizes by which all other tensors are judged."""

    def shape(name: str) -> tuple[int, int]:
        tensor = _tensor(path, tensors, name)
        if len(tensor.shape) != 2 or 0 in tensor.shape:
            raise _error(path, name, f"has shape {list(tensor.shape)}, expected two dimensions")
        return tensor.shape[0], tensor.shape[1]

    vocab_size, dim = shape("emb.weight")
    heads, head_size = shape("blocks.0.att.r_k")
    if heads * head_size != dim:
        raise _error(
            path, "blocks.0.att.r_k", f"{heads} heads of {head_size} do not make dimension {dim}"
        )
    layers = _count_layers(path, tensors)
    sizes = Counter[str]()
    for tensor in tensors.values():
        sizes[tensor.dtype] += tensor.nbytes
    return ModelConfig(
        generation="rwkv7",
        layers=layers,
        dim=dim,
        heads=heads,
        head_size=head_size,
        vocab_size=vocab_size,
        ffn_dim=shape("blocks.0.ffn.key.weight")[0],
        decay_rank=shape("blocks.0.att.w1")[1],
        a_rank=shape("blocks.0.att.a1")[1],
        v_rank=shape("blocks.1.att.v1")[1] if layers > 1 else 0,
        gate_rank=shape("blocks.0.att.g1")[1],
        parameters=sum(prod(tensor.shape) for tensor in tensors.values()),
        stored_dtype=sizes.most_common(1)[0][0],
    )


def _count_layers(path: Path, tensors: Mapping[str, Tensor]) -> int:
    found = {int(match[1]) for name in tensors if (match := _LAYER.match(name))}
    for layer in range(len(found)):
        if layer not in found:
            raise CheckpointError(f"{path}: layer {layer} is missing (blocks.{layer}.*)")
    return len(found)


def _check_tensors(path: Path, tensors: Mapping[str, Tensor], config: ModelConfig) -> None:
    expected = rwkv7_shapes(config)
    for name, shape in expected.items():
        tensor = _tensor(path, tensors, name)
        if not _matches(tensor.shape, shape):
            raise _error(path, name, f"has shape {list(tensor.shape)}, expected {list(shape)}")
        if not tensor.is_float:
            raise _error(path, name, f"has dtype {tensor.dtype}, expected floating point")
    for name in tensors:
        # Some exports give layer 0 a value residual too; nothing ever reads it.
        if name not in expected and name not in _VALUE_RESIDUAL_OF_FIRST:
            raise _error(path, name, "is not part of RWKV-7, so the model would be run wrongly")


def _matches(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Equal; rows may be [D] as well as [1, 1, D]."""
    if expected[:2] == (1, 1) and len(expected) == 3:
        return shape[-1:] == expected[-1:] and all(n == 1 for n in shape[:-1])
    return shape == expected


def _tensor(path: Path, tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise _error(path, name, "is missing")
    return tensors[name]


def _error(path: Path, name: str, why: str) -> CheckpointError:
    return CheckpointError(f"{path}: tensor {name[:120]} {why}")
