"""Embeddings with ln0 folded into them, as some exporters of RWKV-7 write: made official again.

A model reads what the blocks add up to through layer norms alone, which do not see a number that is
added to all channels. So each row may lose its mean, and then there is a row whose norm it is.
"""

import numpy as np
import numpy.typing as npt

from server.checkpoints.checkpoint import Tensor
from server.checkpoints.derived import computed

_EPSILON = 1e-5  # of ln0
_SCALE = 1024.0
"""The weight of ln0. Rows must deviate by less from their mean: others become NaN, which loading
refuses."""


def unfolded(embedding: Tensor) -> dict[str, Tensor]:
    """The embedding and the ln0 that make [V, C] normed rows, but for the mean of each."""
    dim = embedding.shape[1]
    ones = np.ones(dim, np.float32)
    return {
        "emb.weight": computed(embedding, _before_norm),
        "blocks.0.ln0.weight": _vector("blocks.0.ln0.weight", ones * np.float32(_SCALE)),
        "blocks.0.ln0.bias": _vector("blocks.0.ln0.bias", ones * np.float32(0)),
    }


def _before_norm(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The rows whose norm, times _SCALE, these are."""
    centred: npt.NDArray[np.float64] = (rows - rows.mean(axis=-1, keepdims=True)) / _SCALE
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    scale: npt.NDArray[np.float64] = np.sqrt(_EPSILON / (1 - variance))
    return centred * scale


def _vector(name: str, values: npt.NDArray[np.float32]) -> Tensor:
    return Tensor(name, "float32", values.shape, values)
