"""What is known of an assistant's text before it comes."""

import re
from dataclasses import dataclass

from server.tokenizer.chat_template import CallSyntax

_OPENED = re.compile(r"<(/?)think(>?)\s*\Z")


@dataclass(frozen=True)
class Opening:
    """What the prompt has already begun of the answer."""

    thinks: bool = False
    """The answer begins amid thoughts, which a "</think>" ends."""
    owed: str = ""
    """What is missing of the prompt's last tag: the answer begins with it, and it is no text."""


def opening_of(prompt: str) -> Opening:
    """Whether a prompt ends with "<think>", or with a part of it: G1's ends with "<think"."""
    found = _OPENED.search(prompt, max(0, len(prompt) - 64))
    if found is None:
        return Opening()
    closes, is_whole = found.groups()
    return Opening(thinks=not closes, owed="" if is_whole else ">")


def opening_within(content: str) -> Opening:
    """The same for an answer that goes on with an unfinished message."""
    return Opening(thinks=content.rfind("<think>") > content.rfind("</think>"))


@dataclass(frozen=True)
class AnswerForm:
    """How the text of an answer is to be read."""

    reasons: bool = False
    """Whether it may begin with thoughts; else tags of thoughts are text."""
    opening: Opening = Opening()
    calls: CallSyntax | None = None
    """How calls are written; None: nothing is read as a call."""
    parallel_calls: bool = True
    """If not, all calls after the first one are dropped."""
    ends_with_stop: bool = False
    """Whether an answer with calls has the finish reason "stop": a named function is no choice."""
    continued: bool = False
    """Whether it goes on with a message: blanks at its beginning count then."""
