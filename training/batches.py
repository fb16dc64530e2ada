"""Training batches: the mixture of sources, and how documents become rows of equal length."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.chat_format import IGNORE, SEPARATOR, reply_ends
from training.tokenizer import END_ID, load_tokenizer

# The share of the rows of text that each source gets: dialogue and simple language before size.
# Little of what answers questions of knowledge, since the model is to say that it does not know.
TEXT_SHARES = {
    "self_dialogue": 0.20,
    "tinystories": 0.15,
    "chitchat": 0.09,
    "topical_chat": 0.08,
    "picture_books": 0.08,
    "sgd": 0.07,
    "children_classics": 0.06,
    "fairytaleqa_qa": 0.04,
    "fairytales": 0.04,
    "onestop": 0.04,
    "dolly": 0.04,
    "wordnet_qa": 0.03,
    "taskmaster": 0.03,
    "oasst": 0.01,
    "chatterbot": 0.01,
    "rasbt": 0.01,
    "gsm8k": 0.01,
    "trivia": 0.01,
}
# The share of the conversations in the other rows. Nearly all are from our templates, since they
# decide what the model is good for.
CHAT_SHARES = {
    "templates": 0.93,
    "tools": 0.008,
    "self_dialogue": 0.022,
    "chitchat": 0.01,
    "personality_chat": 0.01,
    "chatterbot": 0.01,
    "rasbt": 0.01,
}
LONGEST_CHAT = 380  # tokens; a longer conversation would not fit into one training row
Row = tuple[NDArray[np.uint16], NDArray[np.uint16]]  # ids and targets, each [length]


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

    def document(self, rng: np.random.Generator) -> Row:
        """The (ids, targets) of one conversation."""
        i = int(rng.integers(len(self.starts) - 1))
        span = slice(self.starts[i], self.starts[i + 1])
        return self.tokens[span], self.targets[span]


class Mixture:
    """Sources by their shares; those without a prepared file are left out."""

    def __init__(self, work: Path, kind: str, shares: Mapping[str, float]) -> None:
        paths = {name: work / f"{kind}-{name}.npz" for name in shares}
        self.sources = [Source(path) for path in paths.values() if path.exists()]
        if not self.sources:
            raise FileNotFoundError(f"no prepared data in {work}: run `python -m training prepare`")
        weights = np.array([shares[name] for name, path in paths.items() if path.exists()])
        self.weights = weights / weights.sum()

    def pick(self, rng: np.random.Generator) -> Source:
        return self.sources[int(rng.choice(len(self.sources), p=self.weights))]


class Batches:
    """Batches by number: (seed, step) decides a batch, so that a run can resume anywhere."""

    def __init__(self, work: Path, rows: int, length: int, seed: int) -> None:
        self.rows, self.length, self.seed = rows, length, seed
        self.text = Mixture(work, "text", TEXT_SHARES)
        self.chat = Mixture(work, "chat", CHAT_SHARES)
        self.ends = reply_ends(work)
        tokenizer = load_tokenizer(work / "tokenizer.json")
        self.opening = np.array(tokenizer.encode("System:").ids, np.uint16)
        self.separator = np.array(tokenizer.encode(SEPARATOR).ids, np.uint16)

    def batch(self, step: int, text_share: float) -> tuple[Tensor, Tensor, Tensor]:
        """(ids, targets) [rows, length], and which rows are text [rows]; IGNORE carries no loss.

        Each row is text with the probability text_share, else conversations.
        """
        rng = np.random.default_rng([self.seed, step])
        is_text = rng.random(self.rows) < text_share
        pairs = [self._text_row(rng) if text else self._chat_row(rng) for text in is_text]
        ids = np.stack([ids for ids, _ in pairs]).astype(np.int64)
        targets = np.stack([targets for _, targets in pairs]).astype(np.int64)
        return torch.from_numpy(ids), torch.from_numpy(targets), torch.from_numpy(is_text)

    def _text_row(self, rng: np.random.Generator) -> Row:
        """Plain text, in which a reply before the user's next turn ends as in a conversation."""
        tokens = self.text.pick(rng).stretch(rng, self.length + 2)
        targets = tokens[1:-1].copy()
        targets[self.ends(targets, tokens[2:])] = END_ID
        return tokens[:-2], targets

    def _begin(self, rng: np.random.Generator, ids: NDArray[np.uint16]) -> int:
        """Half of the long rows begin with a long system text, as those of coding agents do.

        Without them a model that has only seen short rows says nonsense after a few thousand
        tokens, and does not end. Returns how many tokens that are; nothing of them is learnt.
        """
        room = self.length - LONGEST_CHAT - len(self.opening) - len(self.separator)
        if room < LONGEST_CHAT or rng.random() < 0.5:
            return 0
        source = self.text if rng.random() < 0.7 else self.chat
        said = source.pick(rng).stretch(rng, int(rng.integers(room // 4, room)))
        begun = np.concatenate([self.opening, said[said != END_ID], self.separator])
        ids[: len(begun)] = begun
        return len(begun)

    def _chat_row(self, rng: np.random.Generator) -> Row:
        """Conversations one after another from an empty state; the last one may be cut off."""
        ids = np.zeros(self.length, np.uint16)
        targets = np.full(self.length, IGNORE, np.uint16)
        filled = self._begin(rng, ids)
        while filled < self.length:
            more, more_targets = self.chat.pick(rng).document(rng)
            size = min(len(more), self.length - filled)
            ids[filled : filled + size] = more[:size]
            targets[filled : filled + size] = more_targets[:size]
            filled += size
        return ids, targets
