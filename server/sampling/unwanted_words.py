"""Words that an output must not have: which tokens would complete one.

A text has a word however it is cut into tokens, so it is the bytes that are looked at: a token is
banned if it has a word in itself, or goes on with one that the output has begun.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import accumulate
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from server.sampling.edits import NOTHING, TokenValues
from server.sampling.params import NEVER
from server.tokenizer.base import Tokenizer

Ids = npt.NDArray[np.int64]


class Vocabulary:
    """The bytes of all tokens, in an order in which those that begin alike are together."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        texts = [tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size)]
        order = sorted(range(len(texts)), key=texts.__getitem__)
        self._ids = np.array(order, dtype=np.int64)
        self._texts = [texts[token] for token in order]

    @cached_property
    def _ends(self) -> list[int]:
        """Where each text ends in all of them one after another."""
        return list(accumulate(map(len, self._texts)))

    @cached_property
    def _joined(self) -> bytes:
        return b"".join(self._texts)

    def beginning_with(self, text: bytes) -> Ids:
        """The tokens that begin with a text, which is not empty."""
        first = bisect_left(self._texts, text)
        after = text.rstrip(b"\xff")  # the least text that is larger than all that begin so
        last = len(self._texts)
        if after:
            last = bisect_left(self._texts, after[:-1] + bytes([after[-1] + 1]))
        return self._ids[first:last]

    def having(self, words: Iterable[bytes]) -> Ids:
        """The tokens that have any of some words in them, which are not empty."""
        search = re.compile(b"|".join(map(re.escape, words))).search
        places, at = [], 0
        while (found := search(self._joined, at)) is not None:
            place = bisect_right(self._ends, found.start())
            if found.end() <= self._ends[place]:
                places.append(place)
                at = self._ends[place]  # on with the next token
            else:
                at = found.start() + 1
        return self._ids[places]


class UnwantedWords:
    """Follows the end of an output."""

    def __init__(self, words: Sequence[str], tokenizer: Tokenizer, generated: list[int]) -> None:
        # The shortest first: one that is within another is found before it.
        self._words = sorted({word.encode() for word in words}, key=lambda word: (len(word), word))
        self._token_bytes = tokenizer.token_bytes
        self._vocabulary = _vocabulary_of(tokenizer)
        self._always = self._vocabulary.having(self._words)
        self._room = len(self._words[-1]) - 1
        self._end = b""
        for token in generated:
            self.add(token)

    def add(self, token: int) -> None:
        """Go on by a generated token."""
        text = self._end + self._token_bytes(token)
        self._end = text[max(0, len(text) - self._room) :]

    def biases(self) -> TokenValues:
        """What is to be added to the logits of the next token."""
        begun = {
            word[size:]
            for word in self._words
            for size in range(1, min(len(word), len(self._end) + 1))
            if self._end.endswith(word[:size])
        }
        found = [self._always, *map(self._vocabulary.beginning_with, sorted(begun))]
        tokens = np.unique(np.concatenate(found))
        return TokenValues(tokens, np.full(len(tokens), NEVER, dtype=np.float32))


def joined(first: TokenValues, second: TokenValues) -> TokenValues:
    """Both edits, one after the other."""
    if first is NOTHING or second is NOTHING:
        return second if first is NOTHING else first
    tokens = np.concatenate([first.tokens, second.tokens])
    return TokenValues(tokens, np.concatenate([first.values, second.values]))


_VOCABULARIES: WeakKeyDictionary[Tokenizer, Vocabulary] = WeakKeyDictionary()
"""Of each tokenizer that was asked for; to make one takes a moment."""


def _vocabulary_of(tokenizer: Tokenizer) -> Vocabulary:
    if tokenizer not in _VOCABULARIES:
        _VOCABULARIES[tokenizer] = Vocabulary(tokenizer)
    return _VOCABULARIES[tokenizer]
