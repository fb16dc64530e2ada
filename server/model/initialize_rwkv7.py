"""How RWKV-7 starts: RWKV-LM, RWKV-v7/train_temp/src/model.py.

How a deep embedding starts is not published: here it leaves all as RWKV-7 has it.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from server.model.config import ModelConfig
from server.model.initial_values import Doubles, Draws, Floats, Place, Recipe, orthogonal, tall_gain

DEEP_EMBEDDING = 0.1
"""A deep embedding is uniform from minus this to this."""

# How fast each token shift moves from the previous token to the current along the channels.
_SHIFT_EXPONENTS = {"x_r": 0.2, "x_w": 0.9, "x_k": 0.7, "x_v": 0.7, "x_a": 0.9, "x_g": 0.2}
_LOW_RANK_DOWN = ("w1", "a1", "v1", "g1")
_LOW_RANK_UP = ("w2", "a2", "v2", "g2")


def _vector(place: Place, draws: Draws) -> npt.NDArray[Any]:
    config, shape = place.config, place.shape
    if place.kind == "ffn.x_k":
        return _token_shift(config, place.rest**4)
    if place.kind.startswith("ffn.s"):
        return _deep_embedding(place, draws)
    kind = place.kind.removeprefix("att.")
    if kind in _SHIFT_EXPONENTS:
        return _token_shift(config, _SHIFT_EXPONENTS[kind] * place.rest)
    if kind in _LOW_RANK_DOWN:
        return np.zeros(shape, np.float32)
    if kind in _LOW_RANK_UP:
        return orthogonal(draws, shape, 0.1 * tall_gain(*shape))
    linear = np.arange(config.dim) / (config.dim - 1) - 0.5  # [D] from −½ to ½
    zigzag = _zigzag(config)
    rows = {
        "w0": _decay(place) + 0.5 + 2.5 * zigzag,
        "a0": -0.19 + 0.3 * zigzag + 0.4 * linear,
        "v0": 0.73 - 0.4 * linear,
        "k_k": 0.71 - 0.1 * linear,
        "k_a": np.full(config.dim, 1.02),
        "r_k": np.full(config.dim, -0.04),
    }
    return rows[kind]


def _deep_embedding(place: Place, draws: Draws) -> Floats:
    if place.kind == "ffn.s2":
        return orthogonal(draws, place.shape, 0.1)
    return np.full(place.shape, place.kind == "ffn.s0", np.float32)


def _token_shift(config: ModelConfig, exponent: float) -> Floats:
    """[D] the share of the previous token: 1 at the first channel, near 0 at the last."""
    return (1 - (np.arange(config.dim) / config.dim) ** exponent).astype(np.float32)


def _decay(place: Place) -> Doubles:
    """[D] from −6 to 0, later layers staying low (long memory) over more channels."""
    dim = place.config.dim
    position: Doubles = np.arange(dim) / (dim - 1)
    return -6 + 6 * position ** float(1 + place.depth**0.3)


def _zigzag(config: ModelConfig) -> Doubles:
    """[D] signed squares from −1 to 1 within each head, so that its channels differ."""
    middle = (config.head_size - 1) / 2
    ramp: Doubles = (np.arange(float(config.dim)) % config.head_size - middle) / middle
    return ramp * np.abs(ramp)


RECIPE = Recipe(
    embedding=1e-4,
    gains={
        "att.receptance.weight": 1.0,
        "att.key.weight": 0.1,
        "att.value.weight": 1.0,
        "att.output.weight": 0.0,
        "ffn.key.weight": 1.0,
        "ffn.value.weight": 0.0,
    },
    tall_gains=False,
    vector=_vector,
)
"""The official initialisation of RWKV-7."""
