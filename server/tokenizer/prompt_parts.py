"""The prompt that a chat template rendered as token ids: its special tokens, and texts between.

Special tokens are read by their names in what the template wrote, and nowhere else: whoever wrote
the messages can write no such token, nor complete a name that the template has begun.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from server.tokenizer.base import Tokenizer

_TEXT = re.compile(r"\S")


class Part(NamedTuple):
    """A special token, or a text between two of them."""

    start: int
    end: int
    """Of its characters."""
    token_id: int | None = None
    """None: it is text."""


class Span(NamedTuple):
    """What a part has become."""

    start: int
    end: int
    """Of its characters."""
    first: int
    last: int
    """Of its token ids."""
    is_special: bool = False


@dataclass
class EncodedPrompt:
    """Token ids, and which characters they stand for."""

    ids: list[int] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)

    def add(self, part: Part, ids: list[int]) -> None:
        """The next ids, of a new part or of the last one."""
        first = len(self.ids)
        if self.spans and self.spans[-1].start == part.start:
            first = self.spans.pop().first
        self.ids += ids
        last = len(self.ids)
        self.spans.append(Span(part.start, part.end, first, last, part.token_id is not None))


def encode_prompt(text: str, tokenizer: Tokenizer) -> EncodedPrompt:
    """All of a text, at once. Raises TokenizerError."""
    prompt = EncodedPrompt()
    for part, ids in encoded_parts(text, tokenizer):
        prompt.add(part, ids)
    return prompt


def rest_of(parts: Iterable[Part], characters: int) -> list[Part]:
    """What parts have beyond so many characters of the text, which may end amid a text."""
    return [
        part._replace(start=max(part.start, characters)) for part in parts if part.end > characters
    ]


def encoded_parts(
    text: str, tokenizer: Tokenizer, parts: Iterable[Part] | None = None
) -> Iterator[tuple[Part, list[int]]]:
    """The ids of each part, of a long one some at a time. Raises TokenizerError.

    Of a text that is no TemplateText no part is a special token. `parts` are its parts, or those
    at its end that are wanted.
    """
    for part in prompt_parts(text, tokenizer) if parts is None else parts:
        if part.token_id is not None:
            yield part, [part.token_id]
            continue
        said = text if part.end - part.start == len(text) else text[part.start : part.end]
        for ids in (tokenizer.amid if part.start else tokenizer).pieces(said):
            yield part, ids


def prompt_parts(text: str, tokenizer: Tokenizer) -> Iterator[Part]:
    """The parts of a text of which a template may have written some."""
    return parts_at_names(text, getattr(text, "written", ()), tokenizer)


def parts_at_names(
    text: str, written: Iterable[tuple[int, int]], tokenizer: Tokenizer
) -> Iterator[Part]:
    """The parts of a text in which names stand for tokens where it is `written`; none is empty.

    A token that takes the whitespace around itself has its characters as well, whoever wrote them.
    """
    position = 0
    for start, end, token_id in _names_in(text, written, tokenizer):
        takes_before, takes_after = tokenizer.takes_whitespace.get(token_id, (False, False))
        if takes_before:
            start = position + len(text[position:start].rstrip())
        if takes_after:
            end = _end_of_whitespace(text, end)
        if position < start:
            yield Part(position, start)
        yield Part(max(position, start), end, token_id)
        position = end
    if position < len(text):
        yield Part(position, len(text))


def _names_in(
    text: str, written: Iterable[tuple[int, int]], tokenizer: Tokenizer
) -> Iterator[tuple[int, int, int]]:
    """Begin, end and id of each name."""
    if not tokenizer.special_tokens:
        return
    pattern = _pattern(tuple(tokenizer.special_tokens))
    for start, end in written:
        for match in pattern.finditer(text, start, end):
            yield match.start(), match.end(), tokenizer.special_tokens[match[0]]


def _end_of_whitespace(text: str, start: int) -> int:
    found = _TEXT.search(text, start)
    return found.start() if found else len(text)


@lru_cache(maxsize=64)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    """Matches each of the names; where one begins as another does, the longer one counts."""
    longest_first = sorted(filter(None, names), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
