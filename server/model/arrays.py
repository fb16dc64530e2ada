"""The arrays that every generation's forward pass works on; its own are in its module.

C channels, H heads of N channels, L layers, F hidden channels, V vocabulary, T tokens of S
sequences, R rows with logits.
"""

from typing import Any, NamedTuple

import numpy as np

from server.kernels.matrices import Activations
from server.kernels.pack import aligned_zeros, padded
from server.kernels.simd import GROUP
from server.model.config import ModelConfig

# A cache line. Widths of models are multiples of large powers of two, and rows at such distances
# would compete for the same few places of a cache.
_STAGGER = 16


class State(NamedTuple):
    """What the model remembers of the sequence in each slot: ModelConfig.state_shapes by slots."""

    shift: Any  # [slots, L, 2, C]
    wkv: Any  # [slots, L, H, N, N], or [slots, L, 3, C]


class Batch(NamedTuple):
    """What one step computes."""

    tokens: Any  # [T] int64
    sequences: Any  # [T] int64, which sequence a token belongs to
    starts: Any  # [S + 1] int64, where sequences start and end in tokens
    slots: Any  # [S] int64, where their states are
    logit_rows: Any  # [R] int64, tokens whose logits are wanted


class Buffers:
    """Allocates what a step needs for `tokens` tokens, of which `rows` want logits."""

    def __init__(self, config: ModelConfig, tokens: int, rows: int, threads: int) -> None:
        self.config = config
        self._tokens = tokens
        self._rows = rows
        self._threads = threads

    def outputs(self, width: int) -> Any:
        """[T, ≥ width] float32, which a matrix product may write: padded to 16 and then some."""
        return aligned_zeros((self._tokens, padded(width) + _STAGGER), np.float32)

    def inputs(self, slots: int, width: int) -> Activations:
        """Inputs of matrix products, several for each token."""
        return _activations(slots, self._tokens, width)

    def shared(self, slots: int) -> dict[str, Any]:
        """The fields of Scratch that all generations have; `slots` inputs of time mixing.

        x and normed [T, C], the residual stream and its norm; borders [threads, C], for the token
        before a thread's first; inputs [slots, T, C]; r, k, v and out [T, C]; channel_hidden
        [1, T, F]; last [1, R, C] and logits [R, V].
        """
        dim, vocab_size = self.config.dim, self.config.vocab_size
        shared: dict[str, Any] = {name: self.outputs(dim) for name in ("r", "k", "v", "out")}
        for name in ("x", "normed"):
            shared[name] = aligned_zeros((self._tokens, dim), np.float32)
        return shared | {
            "borders": aligned_zeros((self._threads, dim), np.float32),
            "inputs": self.inputs(slots, dim),
            "channel_hidden": self.inputs(1, self.config.ffn_dim),
            "last": _activations(1, self._rows, dim),
            "logits": aligned_zeros((self._rows, padded(vocab_size) + _STAGGER), np.float32),
        }


def _activations(slots: int, rows: int, width: int) -> Activations:
    groups = padded(width, GROUP) // GROUP
    return Activations(
        values=aligned_zeros((slots, rows, groups * GROUP + _STAGGER), np.float32),
        codes=np.zeros((slots, rows, groups * GROUP + 4 * _STAGGER), dtype=np.int8),
        scales=aligned_zeros((slots, rows, groups), np.float32),
        sums=np.zeros((slots, rows, groups), dtype=np.int32),
    )
