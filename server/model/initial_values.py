"""What the official initialisations of the generations have in common."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from server.model.config import ModelConfig

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_MIX_EXPONENTS = {"k": 1.0, "v": 1.0, "w": 1.0, "x": 1.0, "r": 0.5, "g": 0.5}


@dataclass(frozen=True)
class Place:
    """Which tensor is initialised: name without its layer (`att.time_decay`), layer and shape."""

    config: ModelConfig
    kind: str
    layer: int
    shape: tuple[int, ...]

    @property
    def depth(self) -> float:
        """From 0 at the first layer to 1 at the last."""
        layers = self.config.layers
        return self.layer / (layers - 1) if layers > 1 else 0.0

    @property
    def rest(self) -> float:
        """From 1 at the first layer to almost 0 at the last."""
        return 1 - self.layer / self.config.layers


@dataclass(frozen=True)
class Recipe:
    """How the tensors of a generation start."""

    embedding: float
    """The embedding is uniform from minus this to this."""
    gains: dict[str, float]
    """Matrix without its layer → length of its orthogonal rows or columns; 0: all zeros."""
    tall_gains: bool
    """Whether a matrix with more rows than columns gets a larger gain."""
    vector: Callable[[Place, np.random.Generator], npt.NDArray[Any]]
    """All other tensors of a layer that are not layer norms, of as many elements as the shape."""


def orthogonal(random: np.random.Generator, shape: tuple[int, ...], gain: float) -> Floats:
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


def tall_gain(rows: int, columns: int) -> float:
    """The gain of a matrix with more rows than columns; 1 for any other."""
    return math.sqrt(rows / columns) if rows > columns else 1.0


def uniform(random: np.random.Generator, shape: tuple[int, ...], limit: float) -> Floats:
    """Uniform from -limit to limit."""
    return random.uniform(-limit, limit, shape).astype(np.float32)


def ramp(count: int) -> Doubles:
    """[count] from 0 at the first to 1 at the last; one alone is the first."""
    return np.arange(count) / max(count - 1, 1)


def thirds(count: int) -> Doubles:
    """[count] of 0, 1, -1, 0, 1, -1 and so on, so that neighbours differ."""
    return (np.arange(1.0, count + 1) % 3) - 1


def time_mix(place: Place) -> Doubles:
    """[D] the share of the current token before RWKV-7: 0 at the first channel, near 1 at the last.

    By the last letter of the name; channel mixing treats all alike.
    """
    dim, letter = place.config.dim, place.kind[-1]
    attention = place.kind.startswith("att.")
    exponent = _MIX_EXPONENTS[letter] if attention else 1.0
    mix: Doubles = (np.arange(dim) / dim) ** (exponent * place.rest)
    return mix + 0.3 * place.depth if attention and letter == "v" else mix


def time_decay(place: Place, slowest: float, span: float) -> Doubles:
    """One value for each head or channel from `slowest` up by `span`, deeper layers staying low."""
    return slowest + span * ramp(math.prod(place.shape)) ** (0.7 + 1.3 * place.depth)
