"""A loaded model: weights, a thread team, and the buffers of one step."""

from typing import Any

import numpy as np
import numpy.typing as npt

from server.kernels.matrices import Activations
from server.kernels.pack import aligned_zeros, padded
from server.kernels.quantize import GROUP
from server.kernels.team import Team
from server.model.config import ModelConfig
from server.model.rwkv7 import INPUT_SLOTS, step
from server.model.rwkv7_arrays import Batch, Scratch, State, Weights
from server.model.state import StatePool

# A cache line. Widths of models are multiples of large powers of two, and rows at such distances
# would compete for the same few places of a cache.
_STAGGER = 16


class Model:
    """Computes steps of up to max_tokens tokens, of which up to max_rows want logits."""

    def __init__(
        self, config: ModelConfig, weights: Weights, team: Team, max_tokens: int, max_rows: int
    ) -> None:
        self.config = config
        self.team = team
        self.max_tokens = max_tokens
        self.max_rows = max_rows
        self._weights = weights
        self._scratch = _allocate(config, max_tokens, max_rows, team.threads)

    def forward(self, batch: Batch, state: State) -> npt.NDArray[np.float32]:
        """Advance the states in place; return logits [R, ≥ V], valid until the next call."""
        assert len(batch.tokens) <= self.max_tokens
        assert len(batch.logit_rows) <= self.max_rows
        self.team.run(step, self._weights, state, batch, self._scratch)
        logits: npt.NDArray[np.float32] = self._scratch.logits[: len(batch.logit_rows)]
        return logits

    def compile(self) -> None:
        """Compile or load the step for this model's types, on the calling thread."""
        state = StatePool(self.config, 1).state
        solo = Team(1)
        solo.run(step, self._weights, state, pack_batch([([0], 0, True)]), self._scratch)


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


def _allocate(config: ModelConfig, tokens: int, rows: int, threads: int) -> Scratch:
    def buffer(*shape: int) -> Any:
        return aligned_zeros(shape, np.float32)

    def outputs(rows: int, width: int) -> Any:
        return buffer(rows, padded(width) + _STAGGER)

    def activations(slots: int, rows: int, width: int) -> Activations:
        groups = padded(width, GROUP) // GROUP
        return Activations(
            values=buffer(slots, rows, groups * GROUP + _STAGGER),
            codes=np.zeros((slots, rows, groups * GROUP + 4 * _STAGGER), dtype=np.int8),
            scales=buffer(slots, rows, groups),
            sums=np.zeros((slots, rows, groups), dtype=np.int32),
        )

    wide = ("r", "k", "v", "v_first", "decay", "rate", "first", "gate", "kk", "out")
    return Scratch(
        x=buffer(tokens, config.dim),
        normed=buffer(tokens, config.dim),
        borders=buffer(threads, config.dim),
        inputs=activations(INPUT_SLOTS, tokens, config.dim),
        **{name: outputs(tokens, config.dim) for name in wide},
        decay_hidden=outputs(tokens, config.decay_rank),
        rate_hidden=outputs(tokens, config.a_rank),
        first_hidden=outputs(tokens, max(config.v_rank, 1)),
        gate_hidden=outputs(tokens, config.gate_rank),
        channel_hidden=activations(1, tokens, config.ffn_dim),
        last=activations(1, rows, config.dim),
        logits=outputs(rows, config.vocab_size),
    )
