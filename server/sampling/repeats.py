"""DRY ("don't repeat yourself"): penalties for tokens that would extend a repetition.

Rules and names are llama.cpp's. A repetition is the longest end of the sequence, with no sequence
breaker in it, that was there before; it is the token that followed it then that is penalised.
"""

import math
import re
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from server.sampling.edits import NOTHING, TokenValues
from server.sampling.params import MOST_DRY_TOKENS, SamplingParams

_LARGEST_LOG = 88.7228391
"""Of float32."""


class Breakers:
    """Follows a sequence and knows how long ago a sequence breaker ended."""

    def __init__(
        self, strings: Iterable[str], token_bytes: Callable[[int], bytes], before: list[int]
    ) -> None:
        """Begin after some tokens; a breaker may begin in them, and those inside do not count."""
        # The longest first: what is found at a place is then what ends last.
        found = sorted({string.encode() for string in strings}, key=len, reverse=True)
        self._search = re.compile(b"|".join(map(re.escape, found)) if found else b"(?!)").search
        self._token_bytes = token_bytes
        self._in_token: dict[int, bool] = {}
        self._room = max(map(len, found), default=1) - 1
        self._end = b""
        for token in reversed(before):
            if len(self._end) >= self._room:
                break
            self._end = token_bytes(token) + self._end
        self.tokens_since = 0
        """Of the sequence, so many at its end touch no breaker."""

    def add(self, token: int) -> None:
        """Go on by one token."""
        before = len(self._end)
        text = self._end + self._token_bytes(token)
        found = self._search(text)
        while found and found.end() <= before:  # it ended with an earlier token
            found = self._search(text, found.start() + 1)
        self.tokens_since = 0 if found else self.tokens_since + 1
        self._end = text[max(0, len(text) - self._room) :]

    def in_token(self, token: int) -> bool:
        """Whether a token by itself has a breaker: it is never penalised."""
        known = self._in_token.get(token)
        if known is None:
            known = self._in_token[token] = self._search(self._token_bytes(token)) is not None
        return known


class Repeats:
    """The last tokens of a sequence, and where in them its end was before."""

    def __init__(
        self, params: SamplingParams, token_bytes: Callable[[int], bytes], sequence: list[int]
    ) -> None:
        """Begin after a sequence; `token_bytes` says what a token stands for."""
        wanted = params.dry_penalty_last_n
        self._most = MOST_DRY_TOKENS if wanted < 0 else min(wanted, MOST_DRY_TOKENS)
        self._params = params
        first = max(0, len(sequence) - self._most)
        recent = sequence[first:]
        self._breakers = Breakers(params.dry_sequence_breakers, token_bytes, sequence[:first])
        for token in recent:
            self._breakers.add(token)
        self._tokens = np.array(recent, dtype=np.int64)
        # How many tokens up to and with each one equal those at the end; 0 for the last itself.
        self._lengths = _lengths_before(recent)

    def add(self, token: int) -> None:
        """Go on by one token."""
        self._breakers.add(token)
        size = len(self._tokens)
        lengths = np.zeros(size + 1, dtype=np.int64)
        lengths[1:] = self._lengths
        lengths[:-1] = np.where(self._tokens == token, lengths[:-1] + 1, 0)
        lengths[-1] = 0
        first = max(0, size + 1 - self._most)
        self._lengths = lengths[first:]
        self._tokens = np.append(self._tokens, token)[first:]

    def biases(self) -> TokenValues:
        """What is to be added to the logits of the next token."""
        shortest = self._params.dry_allowed_length
        if min(self._breakers.tokens_since, len(self._tokens) - 1) < shortest:
            return NOTHING
        # What was before the first token is forgotten.
        known = np.minimum(self._lengths[:-1], np.arange(1, len(self._tokens)))
        known = np.minimum(known, self._breakers.tokens_since)
        ends = np.flatnonzero(known >= shortest)
        tokens, places = np.unique(self._tokens[ends + 1], return_inverse=True)
        longest = np.zeros(len(tokens), dtype=np.int64)
        np.maximum.at(longest, places, known[ends])
        in_token = self._breakers.in_token
        kept = [i for i, token in enumerate(tokens.tolist()) if not in_token(token)]
        lengths, places = np.unique(longest[kept], return_inverse=True)
        penalties = [self._penalty(length - shortest) for length in lengths.tolist()]
        return TokenValues(tokens[kept], -np.array(penalties, dtype=np.float32)[places])

    def _penalty(self, exponent: int) -> float:
        base = self._params.dry_base
        if base > 1.000001:
            exponent = min(exponent, int(_LARGEST_LOG / math.log(base)))
        penalty = self._params.dry_multiplier * base**exponent
        return min(penalty, float(np.finfo(np.float32).max))


def _lengths_before(tokens: list[int]) -> npt.NDArray[np.int64]:
    """Of each token but the last: how many up to and with it equal those at the end.

    The Z-algorithm, from the end: time grows with the number of tokens alone.
    """
    size = len(tokens)
    backwards = tokens[::-1]
    lengths = [0] * size
    left = right = 0
    for start in range(1, size):
        length = min(right - start, lengths[start - left]) if start < right else 0
        while start + length < size and backwards[length] == backwards[start + length]:
            length += 1
        if start + length > right:
            left, right = start, start + length
        lengths[start] = length
    return np.array(lengths[::-1], dtype=np.int64)
