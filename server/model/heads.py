"""Vectors of pooled hidden states, and scores of the states that they leave."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from server.kernels.heads import embed_rows, score_rows
from server.kernels.pack import aligned_zeros, padded
from server.kernels.team import Team
from server.model.layers import LAYER_NORM_EPSILON
from server.model.model import Model, pack_batch
from server.model.state import StatePool
from server.model.tensors import EMBEDDING_HEADS

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_HEADS = list(EMBEDDING_HEADS)
ROWS = 8
"""States that a reranker scores at once: of each it needs a copy."""


class EmbeddingHeads:
    """The heads of an embedding model."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def vectors(
        self, pooled: Doubles, heads: Sequence[str], team: Team | None = None
    ) -> npt.NDArray[np.float64]:
        """[R, C] the vector of each row of pooled hidden states [R, C], by the head named for it.

        A row is rounded to float32 before its head. Heads are keys of tensors.EMBEDDING_HEADS.
        """
        weights = self._model.weights
        x = _rows(pooled.astype(np.float32))
        hidden, out = _rows(np.zeros_like(x[:, 0])), _rows(np.zeros_like(x[:, 0]))
        norm = weights.head_norm_weight, weights.head_norm_bias, np.float64(LAYER_NORM_EPSILON)
        chosen = np.array([_HEADS.index(head) for head in heads], dtype=np.int64)
        matrices = weights.head_hidden, weights.head_output
        (team or self._model.team).run(embed_rows, *matrices, *norm, chosen, x, hidden, out)
        return out[:, 0, : pooled.shape[1]].astype(np.float64)

    def compile(self) -> None:
        """Compile or load the kernels, on the calling thread."""
        self.vectors(np.zeros((1, self._model.config.dim)), [_HEADS[0]], Team(1))


class Reranker:
    """Scores the WKV states that an embedding model has after a document and a query."""

    def __init__(self, model: Model, layers: Sequence[int]) -> None:
        """A model that computes ROWS tokens; `layers` of the embedding model are what it reads."""
        self._model = model
        self._layers = list(layers)
        self._states = StatePool(model.config, ROWS)
        self._shift = np.zeros_like(self._states.state.shift[0])

    def scores(self, states: Sequence[Floats]) -> list[float]:
        """The logit of each state's relevance, whatever the others are.

        A state is that of State.wkv in one slot of the embedding model, [L, H, N, N].
        """
        found: list[float] = []
        for first in range(0, len(states), ROWS):
            found += self._score(states[first : first + ROWS])
        return found

    def compile(self) -> None:
        """Compile or load the kernels, on the calling thread."""
        self._model.compile()
        weights, dim = self._model.weights, self._model.config.dim
        _score(weights, np.zeros((1, dim)), Team(1))

    def _score(self, states: Sequence[Floats]) -> list[float]:
        slots = self._states.state
        for slot, state in enumerate(states):
            slots.wkv[slot] = state[self._layers]
            slots.shift[slot] = self._shift
        batch = pack_batch([([0], slot, False) for slot in range(len(states))])
        self._model.forward(batch, slots)
        hidden = np.zeros((len(states), self._model.config.dim))
        self._model.add_hidden([(row, row + 1) for row in range(len(states))], hidden)
        return _score(self._model.weights, hidden, self._model.team)


def _score(weights: Any, hidden: Doubles, team: Team) -> list[float]:
    x, scores = _rows(hidden.astype(np.float32)), np.zeros(len(hidden))
    vectors = weights.score_bias[0], weights.score_weight[0]
    team.run(score_rows, weights.score_hidden, *vectors, x, _rows(np.zeros_like(x[:, 0])), scores)
    return [float(score) for score in scores]


def _rows(values: Floats) -> Floats:
    """[R, 1, ≥ C] as matrix products read and write them."""
    rows: Any = aligned_zeros((len(values), 1, padded(values.shape[1])), np.float32)
    rows[:, 0, : values.shape[1]] = values
    found: Floats = rows
    return found
