"""What a model is: its generation and sizes, read from the tensors of a checkpoint and checked."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path

from server.checkpoints.checkpoint import EPSILON_KEY, Checkpoint, CheckpointError, Tensor
from server.checkpoints.contents import is_adapter, is_state, is_tuned_state, some_of
from server.checkpoints.foreign_tensors import other_model
from server.model.packed_config import is_packed, read_packed_config
from server.model.tensors import (
    EMBEDDING,
    EMBEDDING_HEADS,
    END_TOKEN,
    FIELDS,
    RERANKER,
    fields_of,
    has_deep_embedding,
    is_deep_attention,
    resolve,
    shapes_in,
    shapes_of,
    tensor_names,
    title_of,
)

_LAYER = re.compile(r"blocks\.(\d{1,4})\.")
_FIRST = "blocks.0.att."
_RERANKS = "head.0.weight"
"""Which only rerankers have."""


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of a model."""

    generation: str
    """What tensors.fields_of() takes, such as "rwkv5.2"."""
    layers: int
    dim: int
    heads: int
    """0 in RWKV-4, which has none."""
    head_size: int
    vocab_size: int
    ffn_dim: int
    ranks: Mapping[str, int] = field(default_factory=dict)
    """Inner sizes of the low-rank pairs, such as decay and gate. RWKV-7 of one layer has no value
    residual, and its rank "first" is 0."""
    group_norm_epsilon: float = 0.0
    """Made official_epsilon() if it is 0. Only files of RWKV-5 may say another one."""
    parameters: int = 0
    stored_dtype: str = "float32"
    """The dtype that most of the checkpoint's bytes have."""
    packed_as: str = ""
    """The weight type of a packed model; empty for any other checkpoint."""

    def __post_init__(self) -> None:
        """Fill in the epsilon."""
        if not self.group_norm_epsilon:
            epsilon = official_epsilon(self.generation, self.head_size)
            object.__setattr__(self, "group_norm_epsilon", epsilon)

    @property
    def title(self) -> str:
        """The generation as people write it, such as RWKV-5.2."""
        return title_of(self.generation)

    @property
    def writes_text(self) -> bool:
        """Whether it is a language model."""
        return self.generation in FIELDS

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name → shape of the float32 arrays that are one sequence's state.

        `shift` [L, 2, C] is the last normed input of time mixing and of channel mixing. `wkv` is
        [L, H, N, N], keys by values; of RWKV-4 [L, 3, C]: numerator, denominator, exponent.
        """
        n = self.head_size
        wkv = (self.heads, n, n) if self.heads else (3, self.dim)
        return {"shift": (self.layers, 2, self.dim), "wkv": (self.layers, *wkv)}

    @property
    def state_bytes(self) -> int:
        """Size of one sequence's state."""
        return 4 * sum(prod(shape) for shape in self.state_shapes.values())


def tensor_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor of such a checkpoint, in a fixed order."""
    return shapes_of(config.generation, config.layers, sizes_of(config))


def sizes_of(config: ModelConfig) -> dict[str, int]:
    """A model's sizes by the names that shapes are written in."""
    sizes = {"V": config.vocab_size, "C": config.dim, "F": config.ffn_dim}
    return sizes | {"H": config.heads, "N": config.head_size} | dict(config.ranks)


def official_epsilon(generation: str, head_size: int) -> float:
    """Of the group norm: in RWKV-7 1e-5 for each channel of a head, before it always that of 64."""
    return head_size * 1e-5 if generation.startswith("rwkv7") else 64e-5


def read_config(checkpoint: Checkpoint) -> ModelConfig:
    """Tell the generation and sizes; check the presence, shape and dtype of every tensor.

    Raises CheckpointError that names the file and the tensor.
    """
    path, tensors = checkpoint.path, checkpoint.tensors
    if is_packed(checkpoint):
        packed = ModelConfig(**read_packed_config(checkpoint))
        _check_epsilon(path, packed, packed.group_norm_epsilon)
        return packed
    if other := other_model(tensors):
        raise _error(path, other[0], f"is of {other[1]}")
    generation = _generation(tensors)
    if generation is None or ("emb.weight" not in tensors and is_adapter(tensors)):
        raise CheckpointError(f"{path}: {_what_else(tensors)}")
    config = _read_sizes(path, tensors, generation)
    if EPSILON_KEY in checkpoint.metadata:
        epsilon = _epsilon(checkpoint)
        _check_epsilon(path, config, epsilon)
        config = replace(config, group_norm_epsilon=epsilon)
    _check_tensors(path, tensors, config)
    if generation == EMBEDDING and config.vocab_size <= END_TOKEN:
        why = f"has {config.vocab_size} rows, but token {END_TOKEN} ends the model's inputs"
        raise _error(path, "emb.weight", why)
    return config


def _what_else(tensors: Mapping[str, Tensor]) -> str:
    """What a checkpoint without a model is."""
    if is_state(tensors):
        return "a tuned initial state, not a model: serve a model with --state NAME=FILE"
    if is_adapter(tensors):
        return "an adapter, not a model: serve a model with --adapter FILE"
    return f"not an RWKV checkpoint (no blocks.0.att.* tensors); {some_of(tensors)}"


def _epsilon(checkpoint: Checkpoint) -> float:
    text = checkpoint.metadata[EPSILON_KEY]
    try:
        epsilon = float(text)
    except ValueError:
        epsilon = 0.0
    if not 0 < epsilon < 1:
        raise CheckpointError(
            f"{checkpoint.path}: {EPSILON_KEY} {text[:40]!r} is not between 0 and 1"
        )
    return epsilon


def _check_epsilon(path: Path, config: ModelConfig, epsilon: float) -> None:
    official = official_epsilon(config.generation, config.head_size)
    if config.generation.startswith("rwkv5") or math.isclose(epsilon, official, rel_tol=1e-6):
        return
    raise CheckpointError(
        f"{path}: {EPSILON_KEY} is {epsilon:g}, but {title_of(config.generation)} with heads of "
        f"{config.head_size} is computed with {official:g}"
    )


def _generation(tensors: Mapping[str, Tensor]) -> str | None:
    """By the tensors that only one generation has; None for what is no RWKV at all."""
    block = {name.removeprefix(_FIRST) for name in tensors if name.startswith(_FIRST)}
    if any(_is_of_a_head(name) for name in tensors):
        return EMBEDDING
    if _RERANKS in tensors:
        return RERANKER
    if "r_k" in block or "k_k" in block:
        return "rwkv7a" if has_deep_embedding(tensors) else "rwkv7"
    if "time_maa_x" in block:
        return "rwkv6"
    if "time_decay" not in block:
        return None
    if "ln_x.weight" not in block:
        return "rwkv4"
    if "gate.weight" not in block:
        return "rwkv5.0"
    return "rwkv5.1" if len(tensors[_FIRST + "time_decay"].shape) == 1 else "rwkv5.2"


def _is_of_a_head(name: str) -> bool:
    """Whether a tensor is one that only embedding models have."""
    return name.startswith(tuple(f"head.{head}_head." for head in EMBEDDING_HEADS.values()))


def _read_sizes(path: Path, tensors: Mapping[str, Tensor], generation: str) -> ModelConfig:
    """The sizes by which all other tensors are judged: each from the first tensor that has it."""
    layers = _count_layers(path, tensors)
    sizes: dict[str, int] = {}
    for part in fields_of(generation):
        layer = 1 if part.absent_in_first else 0
        for size in part.shape.split():
            if layer < layers and size.isalpha() and size not in sizes:
                name = tensor_names(part, layer)[0]
                sizes |= _sizes_in(path, tensors, name or "", part.shape)
    dim, heads = sizes["C"], sizes.get("H", 0)
    head_size = sizes.get("N", dim // heads if heads else 0)
    if heads * head_size != dim and heads:
        name = next(f.tensors[0] for f in fields_of(generation) if "H" in f.shape.split())
        why = f"{heads} heads of {head_size} do not make dimension {dim}"
        raise _error(path, f"blocks.0.{name}", why)
    if layers == 1 and any(part.absent_in_first for part in fields_of(generation)):
        sizes["first"] = 0
    stored = Counter[str]()
    for tensor in tensors.values():
        stored[tensor.dtype] += tensor.nbytes
    return ModelConfig(
        generation=generation,
        layers=layers,
        dim=dim,
        heads=heads,
        head_size=head_size,
        vocab_size=sizes["V"],
        ffn_dim=sizes["F"],
        ranks={name: n for name, n in sizes.items() if name.islower()},
        parameters=sum(prod(tensor.shape) for tensor in tensors.values()),
        stored_dtype=stored.most_common(1)[0][0],
    )


def _sizes_in(path: Path, tensors: Mapping[str, Tensor], name: str, wanted: str) -> dict[str, int]:
    """The sizes that a tensor's shape tells."""
    names, shape = wanted.split(), _tensor(path, tensors, name).shape
    if shape == (0,):
        why = (
            "is empty, as ZeRO-3 saves what other processes hold; gather the weights into one file"
        )
        raise _error(path, name, f"has shape {list(shape)}: it {why}")
    if len(shape) != len(names) or 0 in shape:
        count = ("no", "one", "two", "three")[len(names)]
        raise _error(path, name, f"has shape {list(shape)}, expected {count} dimensions")
    return {size: n for size, n in zip(names, shape, strict=True) if size.isalpha()}


def _count_layers(path: Path, tensors: Mapping[str, Tensor]) -> int:
    found = {int(match[1]) for name in tensors if (match := _LAYER.match(name))}
    for layer in range(len(found)):
        if layer not in found:
            raise CheckpointError(f"{path}: layer {layer} is missing (blocks.{layer}.*)")
    return len(found)


def _check_tensors(path: Path, tensors: Mapping[str, Tensor], config: ModelConfig) -> None:
    sizes, expected = sizes_of(config), set[str]()
    for part in fields_of(config.generation):
        shapes = [resolve(shape, sizes) for shape in shapes_in(part)]
        for layer in range(config.layers if part.per_layer else 1):
            for name, shape in zip(tensor_names(part, layer), shapes, strict=True):
                if name is not None:
                    _check_tensor(path, tensors, name, shape, part.kind == "vectors")
                    expected.add(name)
            # Some exports give layer 0 a value residual too; nothing ever reads it.
            expected |= {f"blocks.{layer}.{name}" for name in part.tensors if part.absent_in_first}
    for name in tensors:
        if is_deep_attention(name):
            raise _error(path, name, "belongs to RWKV-7b, whose attention is not supported")
        if name not in expected and not is_tuned_state(name):
            raise _error(
                path, name, f"is not part of {config.title}, so the model would be run wrongly"
            )


def _check_tensor(
    path: Path, tensors: Mapping[str, Tensor], name: str, shape: tuple[int, ...], is_vector: bool
) -> None:
    """Rows of a vector may be [C] as well as [1, 1, C]."""
    tensor = _tensor(path, tensors, name)
    is_row = is_vector and shape[:2] == (1, 1) and all(n == 1 for n in tensor.shape[:-1])
    if tensor.shape != shape and not (is_row and tensor.shape[-1:] == shape[-1:]):
        raise _error(path, name, f"has shape {list(tensor.shape)}, expected {list(shape)}")
    if not tensor.is_float:
        raise _error(path, name, f"has dtype {tensor.dtype}, expected floating point")


def _tensor(path: Path, tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise _error(path, name, "is missing")
    return tensors[name]


def _error(path: Path, name: str, why: str) -> CheckpointError:
    return CheckpointError(f"{path}: tensor {name[:120]} {why}")
