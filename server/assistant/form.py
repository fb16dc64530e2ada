"""What is known of an assistant's text before it comes."""

import re
from dataclasses import dataclass
from typing import Literal

from server.tokenizer.chat_template import CallSyntax

Thinking = Literal["may", "begun", "ends", "over"]
"""Whether reasoning may come next: it may begin, has begun, has begun but must end at once since it
was switched off, or none may come."""

_OPENED = re.compile(r"<(/?)think(>?)\s*\Z")


@dataclass(frozen=True)
class Opening:
    """What the prompt has already begun of the answer."""

    thinks: bool = False
    """The answer begins amid thoughts, which a "</think>" ends."""
    owed: str = ""
    """What is missing of the prompt's last tag: the answer begins with it, and it is no text."""
    ended: bool = False
    """The prompt ends with reasoning that is over, as templates say that there is to be none."""


def opening_of(prompt: str) -> Opening:
    """Whether a prompt ends with "<think>", or with a part of it: G1's ends with "<think"."""
    found = _OPENED.search(prompt, max(0, len(prompt) - 64))
    if found is None:
        return Opening()
    closes, is_whole = found.groups()
    return Opening(thinks=not closes, owed="" if is_whole else ">", ended=bool(closes and is_whole))


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
    wants_reasoning: bool | None = None
    """What the request decided; None: it left that to the template and the model."""
    must_call: bool = False
    """Whether a grammar leaves nothing but reasoning and tool calls: there is no content then."""
    tool_names: tuple[str, ...] = ()
    """The functions that calls without a marker may be of."""
    holds_calls: bool = False
    """Whether a grammar holds calls to their schemas, in the one form that it has."""

    @property
    def thinking(self) -> Thinking:
        """What request and template decided together, the one value that grammars are built from.

        A template that has begun reasoning although the request switched it off is not followed.
        """
        if self.opening.thinks:
            switched_off = self.wants_reasoning is False and not self.continued
            return "ends" if switched_off else "begun"
        switched_off = not self.reasons or self.continued or self.wants_reasoning is False
        if switched_off or self.opening.ended or self.opening.owed:
            return "over"
        return "may"
