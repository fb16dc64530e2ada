"""What the official initialisations of the generations have in common."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from server.model.config import ModelConfig

Floats = npt.NDArray[np.float32]
Piece = Callable[[], Floats]
"""Makes some rows of a tensor; others may be made meanwhile."""

PIECE_VALUES = 1 << 19
"""About so many numbers are made at once."""
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
    vector: Callable[[Place, "Draws"], npt.NDArray[Any]]
    """All other tensors of a layer that are not layer norms, of as many elements as the shape."""


@dataclass(frozen=True)
class Draws:
    """Where a tensor's random numbers come from: the seed and its name, and nothing else."""

    seed: int
    name: str

    def generator(self, *part: int) -> np.random.Generator:
        """One for the tensor, or for a part of it."""
        digest = hashlib.sha256(self.name.encode()).digest()
        return np.random.default_rng([self.seed, int.from_bytes(digest[:8], "little"), *part])


def orthogonal(draws: Draws, shape: tuple[int, ...], gain: float) -> Floats:
    """[rows, columns] with orthogonal rows or columns, whichever are fewer, of length `gain`."""
    return np.concatenate([piece() for piece in orthogonal_pieces(draws, shape, gain)])


def orthogonal_pieces(draws: Draws, shape: tuple[int, ...], gain: float) -> list[Piece]:
    """The same some rows at a time.

    Rows are those of a fast random rotation. A matrix with more rows than columns is a stack of
    square ones, each as good as any, of which the last one is taller if need be.
    """
    rows, columns = shape
    if rows <= columns:
        return _rotation_pieces(draws, 0, (rows, columns), gain)
    squares = rows // columns - (1 if rows % columns else 0)
    length = gain * math.sqrt(columns / rows)
    pieces = [
        piece
        for number in range(squares)
        for piece in _rotation_pieces(draws, number, (columns, columns), length)
    ]
    rest = rows - squares * columns
    if rest:
        length = gain * math.sqrt(rest / rows)
        pieces.append(partial(_columns_of_rotation, draws, squares, (rest, columns), length))
    return pieces


def _rotation_pieces(
    draws: Draws, number: int, shape: tuple[int, int], length: float
) -> list[Piece]:
    rows, columns = shape
    step = max(1, PIECE_VALUES // columns)
    slices = [slice(first, min(first + step, rows)) for first in range(0, rows, step)]
    return [partial(_rotation_rows, draws, number, piece, columns, length) for piece in slices]


def _columns_of_rotation(
    draws: Draws, number: int, shape: tuple[int, int], length: float
) -> Floats:
    """[rows, columns] with orthogonal columns."""
    rows, columns = shape
    whole = _rotation_rows(draws, number, slice(0, columns), rows, length)
    return np.ascontiguousarray(whole.T)


def _rotation_rows(draws: Draws, number: int, rows: slice, size: int, length: float) -> Floats:
    """[rows, size] of a random rotation: three Hartley transforms with signs and orders between.

    Each step keeps lengths and angles, so that rows are orthogonal whatever is drawn, and after the
    second its entries are close to normally distributed, as are those of a rotation that is
    uniform over all. It takes N² log N, where the QR decomposition takes N³.
    """
    random = draws.generator(number + 1)
    values = _hartley_rows(rows, size)
    for _ in range(2):
        signs = random.integers(0, 2, size).astype(np.float32) * 2 - 1
        values *= signs
        values = _hartley(np.take(values, random.permutation(size), axis=1))
    values *= np.float32(length)
    return values


def _hartley_rows(rows: slice, size: int) -> Floats:
    """[rows, size] of the matrix of the Hartley transform, cos + sin over √size."""
    angles = np.arange(size) * (2 * np.pi / size)
    table = ((np.cos(angles) + np.sin(angles)) / math.sqrt(size)).astype(np.float32)
    places = np.arange(rows.start, rows.stop)[:, None] * np.arange(size)
    places -= places // size * size  # NumPy's remainder takes ten times as long
    return np.take(table, places)


def _hartley(values: Floats) -> Floats:
    """The transform of each row of [rows, size]; it is its own inverse."""
    size = values.shape[1]
    spectrum = np.fft.rfft(values, axis=1, norm="ortho")
    real, imaginary = spectrum.real, spectrum.imag
    result = np.empty(values.shape, np.float32)
    half = spectrum.shape[1]
    result[:, :half] = real - imaginary
    result[:, half:] = (real + imaginary)[:, size - half : 0 : -1]
    return result


def tall_gain(rows: int, columns: int) -> float:
    """The gain of a matrix with more rows than columns; 1 for any other."""
    return math.sqrt(rows / columns) if rows > columns else 1.0


def uniform(draws: Draws, shape: tuple[int, ...], limit: float) -> Floats:
    """Uniform from -limit to limit."""
    return draws.generator().uniform(-limit, limit, shape).astype(np.float32)


def uniform_pieces(draws: Draws, shape: tuple[int, ...], limit: float) -> list[Piece]:
    """The same [rows, columns] some rows at a time."""
    rows, columns = shape
    step = max(1, PIECE_VALUES // columns)
    starts = range(0, rows, step)
    return [partial(_uniform_rows, draws, n, min(step, rows - n), columns, limit) for n in starts]


def _uniform_rows(draws: Draws, first: int, rows: int, columns: int, limit: float) -> Floats:
    bits = draws.generator().bit_generator
    assert isinstance(bits, np.random.PCG64)
    bits.advance(first * columns)  # one step for each number before
    values = np.random.Generator(bits).uniform(-limit, limit, (rows, columns))
    return values.astype(np.float32)


def constant_pieces(shape: tuple[int, ...], value: float) -> list[Piece]:
    """[rows, columns] of one value, some rows at a time."""
    rows, columns = shape
    step = max(1, PIECE_VALUES // columns)
    starts = range(0, rows, step)
    return [partial(np.full, (min(step, rows - n), columns), value, np.float32) for n in starts]


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
