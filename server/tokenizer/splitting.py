"""Where a long text may be split without a change of its token ids.

Tokenizers of Hugging Face first split a text into words by a pattern, and never look beyond a word
after that. So a text may be split where all of a known pattern's words end and begin, whatever else
is around.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from server.tokenizer.base import TokenizerError

PIECE_CHARACTERS = 32 << 10
"""Texts of so many are not split."""

LONGEST_CHARACTERS = 1 << 20
"""Of a text, or a part of it, that has no place to split."""

_LOOKED_AT_CHARACTERS = 2048
"""Of the end of a text, for its last place to split."""

# Before a space after what is surely none; or after a letter, before what is no part of a word.
# Not after other characters, which some patterns join to line breaks behind them; not before "'"
# and "_", which tell whether "'s" is a word; and only letters that no pattern can take for marks,
# and no normal form joins to anything.
_SPACES = (
    r"[!-~\u4e00-\u9fa5\U0001f300-\U0001f64f\U0001f680-\U0001f6c5](?= )"
    r"|[A-Za-z\u4e00-\u9fa5](?=\n)"
)
_MARKS = r"[!-&(-/:-@\[-^`{-~\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f]"
_PLACES = (
    re.compile(_SPACES + r"|[A-Za-z\u4e00-\u9fa5](?=" + _MARKS + ")"),
    re.compile(_SPACES),
)
"""The more, the better: places that no added token spans."""

_GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_GPT_4 = (  # {numbers} at a time
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{numbers}"
    r"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_OWN = (  # of the model that comes with this server
    r"\r?\n+|'(?:[sdmt]|ll|ve|re)\b| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+"
    r"|[^\S\r\n]+(?=\S)|[^\S\r\n]+|\s"
)
KNOWN_PATTERNS = frozenset(
    (_GPT_2, _GPT_4.format(numbers=""), _GPT_4.format(numbers="{1,3}"), _OWN)
)
"""GPT-2 and Pile models; Qwen; Llama 3; this server's own."""


class Splitter:
    """Splits texts for the tokenizer that a tokenizer.json describes."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._place = None
        if _has_known_words(config.get("pre_tokenizer")) and _keeps_places(
            config.get("normalizer")
        ):
            self._place = _place_beside(config.get("added_tokens") or ())

    def parts(self, text: str) -> Iterator[str]:
        """The text in parts that are encoded each by itself. Raises TokenizerError, one line."""
        start = 0
        while start < len(text):
            end = self._end_of_part(text, start)
            yield text[start:end]
            start = end

    def last_place(self, text: str) -> int:
        """After how many characters a text may be split last; 0 where it is not known.

        Its end counts as no place: what follows is not known either.
        """
        start = max(0, len(text) - _LOOKED_AT_CHARACTERS)
        places = self._place.finditer(text, start) if self._place is not None else ()
        return max((place.end() for place in places), default=0)

    def _end_of_part(self, text: str, start: int) -> int:
        if len(text) - start <= PIECE_CHARACTERS:
            return len(text)
        latest = start + LONGEST_CHARACTERS
        if self._place is not None:
            found = self._place.search(text, start + PIECE_CHARACTERS // 2, latest)
            if found is not None:
                return found.end()
        if len(text) <= latest:
            return len(text)
        where = f"in {LONGEST_CHARACTERS} characters from number {start} on"
        raise TokenizerError(
            f"the tokenizer of this model needs a space between words {where}"
            if self._place is not None
            else f"the tokenizer of this model takes at most {LONGEST_CHARACTERS} characters"
        )


def _has_known_words(pre_tokenizer: Any) -> bool:
    parts = _parts(pre_tokenizer, "pretokenizers")
    if not parts or not all(isinstance(part, dict) for part in parts):
        return False
    *splits, last = parts
    if last.get("type") != "ByteLevel" or last.get("add_prefix_space", True):
        return False
    uses_pattern = last.get("use_regex", True)
    if not splits:
        return bool(uses_pattern)
    (split, *others) = splits
    pattern = split.get("pattern")
    return (
        not others
        and not uses_pattern
        and split.get("type") == "Split"
        and (split.get("behavior"), split.get("invert")) == ("Isolated", False)
        and isinstance(pattern, dict)
        and pattern.get("Regex") in KNOWN_PATTERNS
    )


def _keeps_places(normalizer: Any) -> bool:
    """Whether characters at such a place stay as they are, whatever is around."""
    return all(
        isinstance(part, dict) and part.get("type") == "NFC"
        for part in _parts(normalizer, "normalizers")
    )


def _place_beside(added: Iterable[dict[str, Any]]) -> re.Pattern[str] | None:
    """Places that no added token spans, which are looked for before words are; None: none."""
    # Special ones are never looked for.
    texts = [token for token in added if not token.get("special")]
    if any(token.get(name) for token in texts for name in ("single_word", "lstrip", "rstrip")):
        return None
    for place in _PLACES:
        if not any(place.search(token["content"]) for token in texts):
            return place
    return None


def _parts(step: Any, name: str) -> list[Any]:
    """The parts of a sequence, or the one step; none where there is none."""
    if step is None:
        return []
    if isinstance(step, dict) and step.get("type") == "Sequence":
        return list(step.get(name) or ())
    return [step]
