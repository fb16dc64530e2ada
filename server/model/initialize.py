"""Fresh weights of every generation, initialised as in the official training code (RWKV-LM)."""

import math
from collections.abc import Iterator

import numpy as np

from server.model import (
    initialize_rwkv4,
    initialize_rwkv5,
    initialize_rwkv6,
    initialize_rwkv7,
)
from server.model.config import ModelConfig, tensor_shapes
from server.model.initial_values import (
    Draws,
    Floats,
    Piece,
    Place,
    constant_pieces,
    orthogonal_pieces,
    tall_gain,
    uniform_pieces,
)

SHAPES = {
    "0.1b": (12, 768),
    "0.4b": (24, 1024),
    "1.5b": (24, 2048),
    "2.9b": (32, 2560),
    "7.2b": (32, 4096),
    "13.3b": (61, 4096),
}
"""Name → (layers, channels) of the published RWKV-7 World models, of 65,536 tokens."""

_RECIPES = {
    "rwkv4": initialize_rwkv4.RECIPE,
    "rwkv5.0": initialize_rwkv5.PER_HEAD_RECIPE,
    "rwkv5.1": initialize_rwkv5.PER_HEAD_RECIPE,
    "rwkv5.2": initialize_rwkv5.RECIPE,
    "rwkv6": initialize_rwkv6.RECIPE,
    "rwkv7": initialize_rwkv7.RECIPE,
    "rwkv7a": initialize_rwkv7.RECIPE,
}
_WIDE_CHANNEL_MIXING = ("rwkv4", "rwkv5.0", "rwkv7", "rwkv7a")


def design(
    generation: str, layers: int, dim: int, vocab_size: int, head_size: int = 64
) -> ModelConfig:
    """The official proportions for a model of these sizes; RWKV-4 has no heads.

    Raises ValueError with one line when no such model exists.
    """
    if generation not in _RECIPES:
        raise ValueError(f"generation {generation!r} is not one of {', '.join(_RECIPES)}")
    if layers < 1 or vocab_size < 1:
        raise ValueError("a model needs at least one layer and one token")
    if generation == "rwkv4":
        if dim < 2:
            raise ValueError(f"dim {dim} is less than 2")
        head_size = 0
    elif head_size < 2 or dim < 2 or dim % head_size:
        raise ValueError(f"dim {dim} is not a multiple of the head size {head_size}")
    return ModelConfig(
        generation=generation,
        layers=layers,
        dim=dim,
        heads=dim // head_size if head_size else 0,
        head_size=head_size,
        vocab_size=vocab_size,
        ffn_dim=4 * dim if generation in _WIDE_CHANNEL_MIXING else max(32, 7 * dim // 64 * 32),
        ranks=_ranks(generation, layers, dim),
    )


def initialize(config: ModelConfig, seed: int) -> Iterator[tuple[str, Floats]]:
    """Yield (name, float32 array), in the order and of the shapes of tensor_shapes(config).

    A tensor depends on the seed, its name and the sizes only. Raises ValueError with one line for
    an unknown generation or a negative seed.
    """
    tensors = initialize_pieces(config, seed)
    return ((name, np.concatenate([piece() for piece in pieces])) for name, pieces in tensors)


def initialize_pieces(config: ModelConfig, seed: int) -> Iterator[tuple[str, list[Piece]]]:
    """The same as (name, what makes its rows one after another), which threads may call."""
    if config.generation not in _RECIPES:
        raise ValueError(f"generation {config.generation!r} is not one of {', '.join(_RECIPES)}")
    if seed < 0:
        raise ValueError("the seed must not be negative")
    return (
        (name, _pieces(config, name, shape, Draws(seed, name)))
        for name, shape in tensor_shapes(config).items()
    )


def _ranks(generation: str, layers: int, dim: int) -> dict[str, int]:
    """Inner sizes of the low-rank pairs.

    Those of RWKV-6 are twice as large in models of 4096 channels, which RWKV-LM leaves to the
    user; RWKV-PEFT says it (rwkvt/rwkv6/att.py).
    """
    if generation == "rwkv6":
        return {"mix": 64, "decay": 128} if dim >= 4096 else {"mix": 32, "decay": 64}
    if generation.startswith("rwkv7"):
        first = _rank(1.7, dim) if layers > 1 else 0  # a single layer has no value residual
        return {
            "decay": _rank(2.5, dim),
            "rate": _rank(2.5, dim),
            "first": first,
            "gate": _rank(5.0, dim),
        }
    return {}


def _rank(factor: float, dim: int) -> int:
    return max(32, round(factor * math.sqrt(dim) / 32) * 32)


def _pieces(config: ModelConfig, name: str, shape: tuple[int, ...], draws: Draws) -> list[Piece]:
    recipe = _RECIPES[config.generation]
    if name == "emb.weight":
        return uniform_pieces(draws, shape, recipe.embedding)
    if name.endswith(".s_emb.weight"):
        return uniform_pieces(draws, shape, initialize_rwkv7.DEEP_EMBEDDING)
    if name == "head.weight":
        return orthogonal_pieces(draws, shape, 0.5 * tall_gain(*shape))
    kind = name.split(".", 2)[-1]
    if kind not in recipe.gains:
        return [lambda: _small_tensor(config, name, shape, draws).reshape(shape)]
    gain = recipe.gains[kind]
    if not gain:
        return constant_pieces(shape, 0)
    return orthogonal_pieces(draws, shape, gain * (tall_gain(*shape) if recipe.tall_gains else 1))


def _small_tensor(config: ModelConfig, name: str, shape: tuple[int, ...], draws: Draws) -> Floats:
    if name.startswith("ln_out."):
        return np.full(shape, name.endswith("weight"), np.float32)
    _, number, kind = name.split(".", 2)
    layer = int(number)
    if kind == "att.ln_x.weight":
        return np.full(shape, ((1 + layer) / config.layers) ** 0.7, np.float32)
    if ".ln" in name:
        return np.full(shape, name.endswith("weight"), np.float32)
    vector = _RECIPES[config.generation].vector(Place(config, kind, layer, shape), draws)
    return vector.astype(np.float32, copy=False)
