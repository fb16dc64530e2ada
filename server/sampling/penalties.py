"""How often a request has generated each token, for the penalties."""

import numpy as np

from server.sampling.edits import TokenValues


class PenaltyCounts:
    """Distinct generated tokens and their counts, which decay by a factor at every token."""

    def __init__(self, decay: float) -> None:
        self._decay = np.float32(decay)
        self._places: dict[int, int] = {}
        self._tokens = np.zeros(64, dtype=np.int64)
        self._counts = np.zeros(64, dtype=np.float32)

    @property
    def values(self) -> TokenValues:
        """The distinct tokens, in the order of their first use, and their counts."""
        size = len(self._places)
        return TokenValues(self._tokens[:size], self._counts[:size])

    def add(self, token: int) -> None:
        """Count one more generated token."""
        if self._decay != 1:
            self._counts *= self._decay
        place = self._places.setdefault(token, len(self._places))
        if place == len(self._tokens):
            self._tokens = np.concatenate([self._tokens, np.zeros_like(self._tokens)])
            self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
        self._tokens[place] = token
        self._counts[place] += 1
