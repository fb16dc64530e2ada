"""Fresh RWKV-7 weights, initialised as in the official training code (RWKV-LM, RWKV-v7)."""

import hashlib
import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from server.model.config import ModelConfig, tensor_shapes

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

# How fast each token shift moves from the previous token to the current along the channels.
_SHIFT_EXPONENTS = {"x_r": 0.2, "x_w": 0.9, "x_k": 0.7, "x_v": 0.7, "x_a": 0.9, "x_g": 0.2}
_LOW_RANK_DOWN = ("w1", "a1", "v1", "g1")
_LOW_RANK_UP = ("w2", "a2", "v2", "g2")
_MATRIX_GAINS = {
    "att.receptance.weight": 1.0,
    "att.key.weight": 0.1,
    "att.value.weight": 1.0,
    "att.output.weight": 0.0,
    "ffn.key.weight": 1.0,
    "ffn.value.weight": 0.0,
}


SHAPES = {"0.1b": (12, 768), "0.4b": (24, 1024), "1.5b": (24, 2048), "2.9b": (32, 2560)}
"""Name → (layers, channels) of the published RWKV-7 World models, of 65,536 tokens."""


def design(layers: int, dim: int, vocab_size: int, head_size: int = 64) -> ModelConfig:
    """The official proportions for a model of these sizes.

    Raises ValueError with one line when no such model exists.
    """
    if layers < 1 or vocab_size < 1:
        raise ValueError("a model needs at least one layer and one token")
    if head_size < 2 or dim < 2 or dim % head_size:
        raise ValueError(f"dim {dim} is not a multiple of the head size {head_size}")
    return ModelConfig(
        generation="rwkv7",
        layers=layers,
        dim=dim,
        heads=dim // head_size,
        head_size=head_size,
        vocab_size=vocab_size,
        ffn_dim=4 * dim,
        ranks={
            "decay": _rank(2.5, dim),
            "rate": _rank(2.5, dim),
            "first": _rank(1.7, dim) if layers > 1 else 0,
            "gate": _rank(5.0, dim),
        },
    )


def initialize(
    layers: int, dim: int, vocab_size: int, seed: int, head_size: int = 64
) -> Iterator[tuple[str, Floats]]:
    """Yield (name, float32 array), in the order and of the shapes of tensor_shapes(design(…)).

    A tensor depends on the seed, its name and the sizes only. Raises ValueError like design.
    """
    config = design(layers, dim, vocab_size, head_size)
    if seed < 0:
        raise ValueError("the seed must not be negative")
    return (
        (name, _tensor(config, name, shape, _generator(seed, name)).reshape(shape))
        for name, shape in tensor_shapes(config).items()
    )


def _rank(factor: float, dim: int) -> int:
    return max(32, round(factor * math.sqrt(dim) / 32) * 32)


def _generator(seed: int, name: str) -> np.random.Generator:
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])


def _tensor(
    config: ModelConfig, name: str, shape: tuple[int, ...], random: np.random.Generator
) -> Floats:
    if name == "emb.weight":
        return random.uniform(-1e-4, 1e-4, shape).astype(np.float32)
    if name == "head.weight":
        return _orthogonal(random, shape, 0.5 * _tall(config.vocab_size, config.dim))
    if name.startswith("ln_out."):
        return np.full(shape, name.endswith("weight"), np.float32)
    _, number, kind = name.split(".", 2)
    layer = int(number)
    if kind == "att.ln_x.weight":
        return np.full(shape, ((1 + layer) / config.layers) ** 0.7, np.float32)
    if ".ln" in name:
        return np.full(shape, name.endswith("weight"), np.float32)
    if kind in _MATRIX_GAINS:
        gain = _MATRIX_GAINS[kind]
        return _orthogonal(random, shape, gain) if gain else np.zeros(shape, np.float32)
    if kind == "ffn.x_k":
        return _token_shift(config, (1 - layer / config.layers) ** 4)
    return _time_mixing(config, kind.removeprefix("att."), layer, shape, random)


def _time_mixing(
    config: ModelConfig,
    kind: str,
    layer: int,
    shape: tuple[int, ...],
    random: np.random.Generator,
) -> Floats:
    if kind in _SHIFT_EXPONENTS:
        return _token_shift(config, _SHIFT_EXPONENTS[kind] * (1 - layer / config.layers))
    if kind in _LOW_RANK_DOWN:
        return np.zeros(shape, np.float32)
    if kind in _LOW_RANK_UP:
        return _orthogonal(random, shape, 0.1 * _tall(*shape))
    linear = np.arange(config.dim) / (config.dim - 1) - 0.5  # [D] from −½ to ½
    zigzag = _zigzag(config)
    rows = {
        "w0": _decay(config, layer) + 0.5 + 2.5 * zigzag,
        "a0": -0.19 + 0.3 * zigzag + 0.4 * linear,
        "v0": 0.73 - 0.4 * linear,
        "k_k": 0.71 - 0.1 * linear,
        "k_a": np.full(config.dim, 1.02),
        "r_k": np.full(config.dim, -0.04),
    }
    return rows[kind].astype(np.float32)


def _token_shift(config: ModelConfig, exponent: float) -> Floats:
    """[D] the share of the previous token: 1 at the first channel, near 0 at the last."""
    return (1 - (np.arange(config.dim) / config.dim) ** exponent).astype(np.float32)


def _decay(config: ModelConfig, layer: int) -> Doubles:
    """[D] from −6 to 0, later layers staying low (long memory) over more channels."""
    depth = layer / (config.layers - 1) if config.layers > 1 else 0.0
    position: Doubles = np.arange(config.dim) / (config.dim - 1)
    return -6 + 6 * position ** float(1 + depth**0.3)


def _zigzag(config: ModelConfig) -> Doubles:
    """[D] signed squares from −1 to 1 within each head, so that its channels differ."""
    middle = (config.head_size - 1) / 2
    ramp: Doubles = (np.arange(float(config.dim)) % config.head_size - middle) / middle
    return ramp * np.abs(ramp)


def _tall(rows: int, columns: int) -> float:
    """The gain of a matrix with more rows than columns."""
    return math.sqrt(rows / columns) if rows > columns else 1.0


def _orthogonal(random: np.random.Generator, shape: tuple[int, ...], gain: float) -> Floats:
    """[rows, columns] with orthogonal rows or columns, whichever are fewer, of length `gain`."""
    rows, columns = shape
    tall = random.standard_normal((max(rows, columns), min(rows, columns)))
    # Q of the QR decomposition (with positive diagonal: uniform over the orthogonal matrices) by
    # Cholesky, twice for full precision: matrix products only, much faster than Householder's.
    for _ in range(2):
        factor = np.linalg.cholesky(tall.T @ tall)
        tall = (np.linalg.inv(factor) @ tall.T).T
    tall *= gain
    return np.ascontiguousarray(tall if rows >= columns else tall.T, np.float32)
