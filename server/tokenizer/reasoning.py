"""Whether a model reasons before it answers, and how models of the G1 series are asked to."""

import re
from collections.abc import Iterable
from typing import Literal

from server.tokenizer.bounded_template import BoundedTemplate
from server.tokenizer.chat_template import ChatTemplate

Reasoning = Literal["asked", "on", "off"]
"""When a request asks for it or its template does; unless a request says no; never."""

ThinkingWords = Literal["bare", "parentheses"]
"""How a question ends that says how much to think: ` think a bit`, or ` (think a bit)`."""

_SERIES = re.compile(r"(?:rwkv(?:[-_ .]?v?7[ab]?)?)?g[01](?:([a-z])[0-9]?)?", re.IGNORECASE)
"""A word such as g1, G1k or g0a3; the first models of G1 had no letter."""
_RWKV_7 = re.compile(r"rwkv[-_ .]?(?:v?7|x070)", re.IGNORECASE)
_DATE = re.compile(r"20[0-9]{6}")
_WORDS_IN_PARENTHESES_SINCE = "20260401"
_FIRST_LETTER_SINCE = "f"
"""Of the series of that time."""


def reasoning_of(
    choice: str, template: ChatTemplate | BoundedTemplate, *names: str, architecture: str = ""
) -> Reasoning:
    """What the setting model.reasoning, "auto", "on", "asked" or "off", means for a model.

    `names` are what its files call it: World and G1 models may have the same template, but the
    latter are called after the series.
    """
    if choice == "auto":
        return "asked" if _can_reason(template, names, architecture) else "off"
    return "on" if choice == "on" else "asked" if choice == "asked" else "off"


def _can_reason(
    template: ChatTemplate | BoundedTemplate, names: Iterable[str], architecture: str
) -> bool:
    return template.writes_thoughts or (template.speaks_in_turns and is_g1(names, architecture))


def is_g1(names: Iterable[str], architecture: str = "") -> bool:
    """Whether a model is called after the G1 series, wherever in one of its names."""
    if architecture and not architecture.startswith("rwkv7"):
        return False
    return any(
        (architecture or _RWKV_7.search(name)) and _series_of(name) is not None for name in names
    )


def thinking_words(names: Iterable[str]) -> ThinkingWords:
    """The form that a model was trained on, by the date or else the series in its name.

    The newer form for a model that is not called after either.
    """
    names = list(names)
    for name in names:
        if found := [word for word in _words(name) if _DATE.fullmatch(word)]:
            return "parentheses" if found[-1] >= _WORDS_IN_PARENTHESES_SINCE else "bare"
    for name in names:
        if (letter := _series_of(name)) is not None:
            return "parentheses" if letter >= _FIRST_LETTER_SINCE else "bare"
    return "parentheses"


def _series_of(name: str) -> str | None:
    """The letter of the series, "" for its first models, None if the name has no such word."""
    matches = (_SERIES.fullmatch(word) for word in _words(name))
    return next(((match[1] or "").lower() for match in matches if match), None)


def _words(name: str) -> list[str]:
    return re.split("[^A-Za-z0-9]+", name)
