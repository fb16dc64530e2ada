"""Prompts and answers in the log, for operators who ask for it (logging.prompts)."""

import logging
from collections.abc import Sequence

from server.logs import json_line
from server.tokenizer.base import Tokenizer

log = logging.getLogger(__name__)

MOST_CHARS = 4000
"""Of a prompt, and of an answer."""


def log_prompts(prompts: Sequence[Sequence[int]], tokenizer: Tokenizer) -> None:
    """A line for each prompt: what the model reads, special tokens left out."""
    for number, ids in enumerate(prompts):
        text = tokenizer.decode(ids[:MOST_CHARS])  # few tokens are empty
        _log(f"prompt {number}, {len(ids)} tokens", text, is_cut=len(ids) > MOST_CHARS)


def log_answer(index: int, text: str, tokens: int, finish_reason: str) -> None:
    """A line for the answer of a choice, also of one that was not finished."""
    _log(f"answer {index}, {tokens} tokens, {finish_reason}", text)


def _log(what: str, text: str, is_cut: bool = False) -> None:
    cut = ", the beginning" if is_cut or len(text) > MOST_CHARS else ""
    log.info("%s%s: %s", what, cut, json_line(text[:MOST_CHARS]))
