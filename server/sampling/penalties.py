"""How often a request has generated each token, for the penalties."""

from collections import deque

import numpy as np

from server.sampling.edits import TokenValues


class PenaltyCounts:
    """Distinct generated tokens and their counts, which decay by a factor at every token.

    With `last` tokens at most those count that came last.
    """

    def __init__(self, decay: float, last: int = -1) -> None:
        self._decay = np.float32(decay)
        self._places: dict[int, int] = {}
        self._tokens = np.zeros(64, dtype=np.int64)
        self._counts = np.zeros(64, dtype=np.float32)
        self._recent: deque[int] | None = deque() if last >= 0 else None
        self._last = last
        self._oldest = np.float32(decay) ** np.float32(max(last, 0))
        """What is left of a token's count when it has come so long ago that it counts no more."""

    @property
    def values(self) -> TokenValues:
        """The distinct tokens, in the order of their first use, and their counts."""
        size = len(self._places)
        return TokenValues(self._tokens[:size], self._counts[:size])

    def add(self, token: int) -> None:
        """Count one more generated token."""
        if self._last == 0:
            return
        if self._decay != 1:
            self._counts *= self._decay
        place = self._places.setdefault(token, len(self._places))
        if place == len(self._tokens):
            self._tokens = np.concatenate([self._tokens, np.zeros_like(self._tokens)])
            self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
        self._tokens[place] = token
        self._counts[place] += 1
        if self._recent is not None:
            self._recent.append(token)
            if len(self._recent) > self._last:
                self._forget(self._recent.popleft())

    def _forget(self, token: int) -> None:
        assert self._recent is not None
        place = self._places[token]
        self._counts[place] -= self._oldest
        if token in self._recent:
            return
        size = len(self._places)
        del self._places[token]
        self._tokens[place : size - 1] = self._tokens[place + 1 : size].copy()
        self._counts[place : size - 1] = self._counts[place + 1 : size].copy()
        self._counts[size - 1] = 0
        for other, at in self._places.items():
            self._places[other] = at - (at > place)
