"""What is measured without the model: xz and a 5-gram model of tokens beside it, and loops."""

import lzma
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ORDER = 5
Keys = NDArray[np.int64]


def xz_bits(text: bytes) -> float:
    """Bits per byte of text by itself under xz -9e."""
    packed = lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)
    return 8 * len(packed) / max(1, len(text))


class NGrams:
    """An interpolated model with Witten-Bell smoothing over tokens of at most 12 bits each."""

    def __init__(self, texts: Sequence[NDArray[np.uint16]]) -> None:
        self.counts: list[tuple[Keys, Keys]] = []  # for each order: sorted n-grams, their counts
        self.contexts: list[tuple[Keys, Keys, Keys]] = []  # contexts, counts, kinds of next token
        for order in range(1, ORDER + 1):
            grams = np.concatenate([_grams(text, order) for text in texts])
            keys, counts = np.unique(grams, return_counts=True)
            self.counts.append((keys, counts))
            contexts, first = np.unique(keys >> 12, return_index=True)
            kinds = np.diff(np.append(first, len(keys)))
            totals = np.add.reduceat(counts, first)
            self.contexts.append((contexts, totals, kinds))

    def bits(self, tokens: NDArray[np.uint16]) -> float:
        """The bits that tokens take after the first ORDER - 1 of them."""
        chance = np.full(max(0, len(tokens) - ORDER + 1), 1 / 4096)
        for order in range(1, ORDER + 1):
            grams = _grams(tokens[ORDER - order :], order)
            seen = _look_up(*self.counts[order - 1], grams)
            contexts, totals, kinds = self.contexts[order - 1]
            total = _look_up(contexts, totals, grams >> 12)
            kind = _look_up(contexts, kinds, grams >> 12)
            known = total > 0
            mixed = (seen + kind * chance) / np.maximum(1, total + kind)
            chance = np.where(known, mixed, chance)
        return float(-np.log2(chance).sum())


def _grams(tokens: NDArray[np.uint16], order: int) -> Keys:
    """Every n-gram as one number, its last token in the lowest 12 bits."""
    size = max(0, len(tokens) - order + 1)
    keys = np.zeros(size, np.int64)
    for i in range(order):
        keys = (keys << 12) | tokens[i : i + size].astype(np.int64)
    return keys


def _look_up(keys: Keys, values: Keys, wanted: Keys) -> NDArray[np.float64]:
    if len(keys) == 0:
        return np.zeros(len(wanted))
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0).astype(np.float64)


def loops(text: str) -> bool:
    """Whether anything of three letters or more comes five times in a row."""
    return re.search(r"(.{3,80}?)\1{4}", text, re.DOTALL) is not None
