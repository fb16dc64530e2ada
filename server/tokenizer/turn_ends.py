"""What ends an answer, as the chat template shows it: it writes that after what assistants said."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from server.tokenizer.base import Tokenizer, TokenizerError
from server.tokenizer.bounded_template import BoundedTemplate, TemplateFailedError
from server.tokenizer.chat_template import ChatTemplate
from server.tokenizer.prompt_parts import prompt_parts
from server.tokenizer.template_text import TemplateText

_ASKED, _SAID, _ASKED_AGAIN = "Hello", "Greetings", "Farewell"
_TURNS = (
    {"role": "user", "content": _ASKED},
    {"role": "assistant", "content": _SAID},
    {"role": "user", "content": _ASKED_AGAIN},
)
_SYSTEM = {"role": "system", "content": "Converse."}
_CONVERSATIONS: tuple[Sequence[Mapping[str, str]], ...] = (
    _TURNS,
    (_SYSTEM, *_TURNS),
    _TURNS[:2],
)
"""Templates may want a system message, or end with the assistant."""

_MARK = re.compile(r"<[^<>\s]{1,60}>|\[/?[A-Z_]{2,30}\]")
"""Such as <|im_end|>, </s> or [/INST] where it is text."""
_MAX_LENGTH = 100
"""Characters of what is taken for the beginning of a turn."""


class TurnEnds(NamedTuple):
    """What ends an answer besides the end of a document."""

    ids: tuple[int, ...] = ()
    """Of special tokens."""
    texts: tuple[str, ...] = ()


def turn_ends_of(template: ChatTemplate | BoundedTemplate, tokenizer: Tokenizer) -> TurnEnds:
    """What a template writes between what an assistant says and the next message.

    That is the special token it begins with, or else a mark that it begins with, or else the line
    that begins the next turn. Raises TemplateFailedError.
    """
    known = template.stop
    for messages in _CONVERSATIONS:
        try:
            text = template.render(messages, add_generation_prompt=False)
        except TemplateFailedError:
            raise
        except TokenizerError:  # it does not take such a conversation
            continue
        start = text.find(_SAID) + len(_SAID)
        end = text.find(_ASKED_AGAIN, start) if messages[-1]["role"] == "user" else len(text)
        if start >= len(_SAID) and end >= start:
            found = _ends_between(text, start, end, tokenizer)
            covered = any(stop in text[start:end] for stop in known)
            texts = () if covered else found.texts
            return TurnEnds(found.ids, (*known, *texts))
    return TurnEnds((), known)


def _ends_between(text: TemplateText, start: int, end: int, tokenizer: Tokenizer) -> TurnEnds:
    for part in prompt_parts(text, tokenizer):
        if part.token_id is not None and start <= part.end <= end:
            if part.start < start or not text[start : part.start].strip():
                return TurnEnds((part.token_id,))
            break
    said = text[start:end]
    if mark := _MARK.match(said.lstrip()):
        return TurnEnds((), (mark[0],))
    turn = said.rstrip()
    # A line that names somebody: an answer may well have a line that begins with a dash.
    names_one = turn[:1] == "\n" and any(map(str.isalpha, turn)) and len(turn) <= _MAX_LENGTH
    return TurnEnds((), (turn,)) if names_one else TurnEnds()
