"""The forward pass of each generation, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from server.model import rwkv4, rwkv5, rwkv6, rwkv7, rwkv7_embedding, rwkv7_reranker, rwkv7a
from server.model.arrays import Buffers
from server.model.tensors import EMBEDDING, RERANKER


@dataclass(frozen=True)
class Generation:
    """What computes a generation."""

    step: Callable[..., None]
    """step(team, thread, threads, weights, state, batch, scratch), compiled."""
    weights: type[tuple[Any, ...]]
    """A named tuple, whose fields are those of tensors.fields_of()."""
    allocate: Callable[[Buffers], tuple[Any, ...]]
    """Makes the scratch buffers of a step."""


def _generation(module: ModuleType) -> Generation:
    return Generation(module.step, module.Weights, module.allocate)


GENERATIONS = {
    "rwkv4": _generation(rwkv4),
    "rwkv5.0": _generation(rwkv5),
    "rwkv5.1": _generation(rwkv5),
    "rwkv5.2": _generation(rwkv5),
    "rwkv6": _generation(rwkv6),
    "rwkv7": _generation(rwkv7),
    "rwkv7a": _generation(rwkv7a),
    EMBEDDING: _generation(rwkv7_embedding),
    RERANKER: _generation(rwkv7_reranker),
}
