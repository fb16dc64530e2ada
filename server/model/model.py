"""A loaded model: weights, a thread team, and the buffers of one step."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from server.kernels.pool import add_normed_rows
from server.kernels.team import Team, compile_for
from server.model.arrays import Batch, Buffers, State
from server.model.config import ModelConfig
from server.model.generations import GENERATIONS
from server.model.layers import LAYER_NORM_EPSILON, head_step
from server.model.state import StatePool

LOGIT_ROWS = 32
"""The logits of many tokens come for so many at once, or for max_rows if that is more. Fewer would
read the head's weights too often, more need memory: a quarter MiB each."""


class Model:
    """Computes steps of up to max_tokens tokens, of which up to max_rows want logits."""

    def __init__(
        self, config: ModelConfig, weights: Any, team: Team, max_tokens: int, max_rows: int
    ) -> None:
        self.config = config
        self.team = team
        self.max_tokens = max_tokens
        self.max_rows = max_rows
        self._weights = weights
        generation = GENERATIONS[config.generation]
        self._step = generation.step
        self._logit_rows = max(max_rows, LOGIT_ROWS)
        buffers = Buffers(config, max_tokens, self._logit_rows, team.threads)
        self._scratch: Any = generation.allocate(buffers)

    @property
    def weights(self) -> Any:
        """The Weights of its generation."""
        return self._weights

    def forward(self, batch: Batch, state: State) -> npt.NDArray[np.float32]:
        """Advance the states in place; return logits [R, ≥ V], valid until the next call."""
        assert len(batch.tokens) <= self.max_tokens
        assert len(batch.logit_rows) <= self.max_rows
        self.team.run(self._step, self._weights, state, batch, self._scratch)
        logits: npt.NDArray[np.float32] = self._scratch.logits[: len(batch.logit_rows)]
        return logits

    def logits_of(self, tokens: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.float32]]:
        """The logits after any tokens, by their places in the batch that forward() took last.

        They come in pieces [≤ max(LOGIT_ROWS, max_rows), ≥ V], on which no bit depends. A piece is
        valid until the next one, and what forward() returned no longer is.
        """
        for first in range(0, len(tokens), self._logit_rows):
            piece = tokens[first : first + self._logit_rows]
            self.team.run(head_step, self._weights, piece, self._scratch)
            logits: npt.NDArray[np.float32] = self._scratch.logits[: len(piece)]
            yield logits

    def add_hidden(
        self, spans: list[tuple[int, int]], sums: npt.NDArray[np.float64], team: Team | None = None
    ) -> None:
        """Add hidden states of the last forward()'s tokens to sums [S, C], token by token.

        A span is the first token of a row of sums, and the one after its last. Hidden states are
        those after the last layer norm, which the head reads.
        """
        weights, scratch = self._weights, self._scratch
        norm = weights.norm_weight[1], weights.norm_bias[1], np.float64(LAYER_NORM_EPSILON)
        rows = np.array(spans, dtype=np.int64).reshape(-1, 2)
        (team or self.team).run(add_normed_rows, scratch.x, *norm, rows, scratch.borders, sums)

    def compile(self) -> None:
        """Compile or load the kernels for this model's types, on the calling thread.

        Those that read the weights are not run: they may be gigabytes that are not in memory yet.
        """
        state = StatePool(self.config, 1).state
        batch = pack_batch([([0], 0, True)])
        compile_for(self._step, self._weights, state, batch, self._scratch)
        compile_for(head_step, self._weights, batch.logit_rows, self._scratch)
        self.add_hidden([(0, 1)], np.zeros((1, self.config.dim)), Team(1))


def pack_batch(sequences: list[tuple[list[int], int, bool]]) -> Batch:
    """Pack (token ids, slot, whether the last one's logits are wanted) of some sequences."""
    lengths = np.array([len(tokens) for tokens, _, _ in sequences], dtype=np.int64)
    starts = np.zeros(len(sequences) + 1, dtype=np.int64)
    np.cumsum(lengths, out=starts[1:])
    wanted = np.array([wanted for _, _, wanted in sequences], dtype=bool)
    return Batch(
        tokens=np.array([token for tokens, _, _ in sequences for token in tokens], dtype=np.int64),
        sequences=np.repeat(np.arange(len(sequences), dtype=np.int64), lengths),
        starts=starts,
        slots=np.array([slot for _, slot, _ in sequences], dtype=np.int64),
        logit_rows=starts[1:][wanted] - 1,
    )
