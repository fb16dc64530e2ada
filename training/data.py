"""Prepare the training text: hold some out, learn the tokenizer, encode to arrays of uint16."""

import hashlib
import json
import lzma
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from training.batches import LONGEST_CHAT
from training.chat_format import encode_chat
from training.templates import generate, generate_calls
from training.tokenizer import END_ID, load_tokenizer, train_tokenizer

_SPEAKER = re.compile(r"^(?:System|User|Assistant): ?")
SYSTEMS = (
    "You are a helpful assistant.",
    "You are a friendly assistant. Answer briefly.",
    "You are RWKV, a small language model.",
    "Be kind and brief.",
)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    with lzma.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def is_held_out(text: str) -> bool:
    """One document in a hundred, chosen by its content, so that every run holds out the same."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest()) % 100 == 0


def paragraphs(*texts: str) -> set[str]:
    """The longer paragraphs of texts, without the names of speakers."""
    parts = (part for text in texts for part in text.split("\n\n"))
    return {_SPEAKER.sub("", part).strip() for part in parts if len(part) >= 40}


class Documents:
    """Documents of tokens in one flat array, with where each begins."""

    def __init__(self) -> None:
        self.tokens: list[NDArray[np.uint16]] = []
        self.targets: list[NDArray[np.uint16]] = []
        self.lengths: list[int] = []

    def add(self, ids: list[int], targets: list[int] | None = None) -> None:
        self.tokens.append(np.array(ids, np.uint16))
        if targets is not None:
            self.targets.append(np.array(targets, np.uint16))
        self.lengths.append(len(ids))

    def save(self, path: Path, **extra: Any) -> int:
        """Write path and return the number of tokens."""
        empty = [np.zeros(0, np.uint16)]
        starts = np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)
        np.savez(
            path,
            tokens=np.concatenate(self.tokens or empty),
            targets=np.concatenate(self.targets or empty),
            starts=starts,
            **extra,
        )
        return int(starts[-1])


def prepare_tokenizer(data: Path, work: Path, vocab_size: int) -> Tokenizer:
    """Learn the tokenizer from every fifth training document; keep it in work/tokenizer.json."""
    documents = (line["text"] for line in read_lines(data / "text.jsonl.xz"))
    sample = (text for i, text in enumerate(documents) if i % 5 == 0 and not is_held_out(text))
    tokenizer = train_tokenizer(sample, vocab_size)
    tokenizer.save(str(work / "tokenizer.json"))
    return tokenizer


def prepare_text(data: Path, work: Path, tokenizer: Tokenizer) -> dict[str, int]:
    """Encode the plain text, one array file a source; returns the tokens of each.

    Both files share sources, so held-out text that conversations train on is left out altogether.
    """
    turns = (line["turns"] for line in read_lines(data / "chat.jsonl.xz"))
    seen = set().union(*(paragraphs(*t) for t in turns if not is_held_out("\n".join(t))))
    texts: dict[str, list[str]] = defaultdict(list)
    held: dict[str, list[str]] = defaultdict(list)
    for line in read_lines(data / "text.jsonl.xz"):
        text = line["text"]
        if not is_held_out(text):
            texts[line["src"]].append(text)
        elif seen.isdisjoint(paragraphs(text)):
            held[line["src"]].append(text)
    counts: dict[str, int] = {}
    for kind, by_source in (("text", texts), ("held", held)):
        for source, items in sorted(by_source.items()):
            documents = Documents()
            for start in range(0, len(items), 1000):
                for encoding in tokenizer.encode_batch(items[start : start + 1000]):
                    documents.add([*encoding.ids, END_ID])
            size = sum(len(item.encode()) for item in items)
            name = f"{kind}-{source}"
            counts[name] = documents.save(work / f"{name}.npz", bytes=size)
    return counts


def prepare_chat(
    data: Path, work: Path, tokenizer: Tokenizer, conversations: int, seed: int
) -> dict[str, int]:
    """Encode the conversations and those made from templates; returns the tokens of each source.

    Conversations of people are no fair test, since the plain text has most of them. What is fair of
    our own are the wordings that training never shows: see prompts.py.
    """
    rng = np.random.default_rng(seed)
    lines = [(line["src"], line["turns"], None) for line in read_lines(data / "chat.jsonl.xz")]
    lines += [("templates", turns, None) for turns in generate(conversations, seed)]
    lines += [
        ("tools", turns, system) for turns, system in generate_calls(conversations // 50, seed)
    ]
    documents: dict[str, Documents] = defaultdict(Documents)
    for source, turns, system in lines:
        if system is None and rng.random() < 0.1:
            system = str(rng.choice(SYSTEMS))
        ids, targets = encode_chat(tokenizer, turns, system)
        if len(ids) <= LONGEST_CHAT:
            kind = "heldchat" if is_held_out("\n".join(turns)) else "chat"
            documents[f"{kind}-{source}"].add(ids, targets)
    return {name: d.save(work / f"{name}.npz") for name, d in sorted(documents.items())}


def prepare(
    data: Path, work: Path, vocab_size: int, conversations: int, seed: int
) -> dict[str, int]:
    """Everything above, in order; an existing tokenizer is kept."""
    work.mkdir(parents=True, exist_ok=True)
    path = work / "tokenizer.json"
    tokenizer = load_tokenizer(path) if path.exists() else prepare_tokenizer(data, work, vocab_size)
    counts = prepare_text(data, work, tokenizer)
    counts |= prepare_chat(data, work, tokenizer, conversations, seed)
    return counts
