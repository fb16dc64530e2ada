"""Training batches: the mixture of sources, and how documents become rows of equal length."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.chat_format import IGNORE

# The share of stage 1 that each source gets: simple language and dialogue before sheer size.
TEXT_SHARES = {
    "tinystories": 0.14,
    "self_dialogue": 0.13,
    "dolly": 0.10,
    "fairytaleqa_qa": 0.06,
    "picture_books": 0.06,
    "chitchat": 0.06,
    "wordnet_qa": 0.05,
    "trivia": 0.05,
    "oasst": 0.05,
    "children_classics": 0.05,
    "fairytales": 0.04,
    "topical_chat": 0.04,
    "sgd": 0.04,
    "onestop": 0.03,
    "gsm8k": 0.03,
    "taskmaster": 0.02,
    "rasbt": 0.02,
    "chatterbot": 0.02,
    "openstax_hs_physics": 0.01,
}
# The share of stage 2. Most of it is from our templates, since they decide how a demo looks.
CHAT_SHARES = {
    "templates": 0.60,
    "dolly": 0.14,
    "rasbt": 0.08,
    "wordnet_qa": 0.05,
    "self_dialogue": 0.05,
    "oasst": 0.04,
    "chatterbot": 0.02,
    "chitchat": 0.01,
    "personality_chat": 0.01,
}


class Source:
    """The documents of one prepared file."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as arrays:
            self.tokens: NDArray[np.uint16] = arrays["tokens"]  # [all tokens]
            self.targets: NDArray[np.uint16] = arrays["targets"]  # the same, or empty
            self.starts: NDArray[np.int64] = arrays["starts"]  # [documents + 1]
            self.bytes = int(arrays["bytes"]) if "bytes" in arrays else 0

    def stretch(self, rng: np.random.Generator, length: int) -> NDArray[np.uint16]:
        """length tokens in a row: half the time from the start of a document, else from anywhere.

        A start shows the model an empty state, as a server has it; anywhere reaches the long books.
        """
        if rng.random() < 0.5:
            start = int(self.starts[rng.integers(len(self.starts) - 1)])
        else:
            start = int(rng.integers(len(self.tokens)))
        return np.take(self.tokens, np.arange(start, start + length), mode="wrap")

    def document(self, rng: np.random.Generator) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        """The (ids, targets) of one conversation."""
        i = int(rng.integers(len(self.starts) - 1))
        span = slice(self.starts[i], self.starts[i + 1])
        return self.tokens[span], self.targets[span]


class Batches:
    """Batches by number: (seed, step) decides a batch, so that a run can resume anywhere."""

    def __init__(self, work: Path, stage: int, rows: int, length: int, seed: int) -> None:
        self.stage, self.rows, self.length, self.seed = stage, rows, length, seed
        kind = "text" if stage == 1 else "chat"
        shares: Mapping[str, float] = TEXT_SHARES if stage == 1 else CHAT_SHARES
        paths = {name: work / f"{kind}-{name}.npz" for name in shares}
        self.sources = [Source(path) for path in paths.values() if path.exists()]
        if not self.sources:
            raise FileNotFoundError(f"no prepared data in {work}: run `python -m training prepare`")
        weights = np.array([shares[name] for name, path in paths.items() if path.exists()])
        self.weights = weights / weights.sum()

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """(ids, targets), both int64 [rows, length]; a target of IGNORE carries no loss."""
        rng = np.random.default_rng([self.seed, self.stage, step])
        row = self._text_row if self.stage == 1 else self._chat_row
        pairs = [row(rng) for _ in range(self.rows)]
        ids = np.stack([ids for ids, _ in pairs]).astype(np.int64)
        targets = np.stack([targets for _, targets in pairs]).astype(np.int64)
        return torch.from_numpy(ids), torch.from_numpy(targets)

    def _pick(self, rng: np.random.Generator) -> Source:
        return self.sources[int(rng.choice(len(self.sources), p=self.weights))]

    def _text_row(self, rng: np.random.Generator) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        tokens = self._pick(rng).stretch(rng, self.length + 1)
        return tokens[:-1], tokens[1:]

    def _chat_row(self, rng: np.random.Generator) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        """Conversations one after another from an empty state; the last one may be cut off."""
        ids = np.zeros(self.length, np.uint16)
        targets = np.full(self.length, IGNORE, np.uint16)
        filled = 0
        while filled < self.length:
            more, more_targets = self._pick(rng).document(rng)
            size = min(len(more), self.length - filled)
            ids[filled : filled + size] = more[:size]
            targets[filled : filled + size] = more_targets[:size]
            filled += size
        return ids, targets
