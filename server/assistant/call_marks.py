"""What stands around the JSON of calls, in the ways in which models write it."""

import re
from dataclasses import dataclass

from server.assistant.form import AnswerForm
from server.tokenizer.chat_template import CallSyntax
from server.tokenizer.tool_text import BEGIN_CALL, END_CALL, FENCE

_TAGS = {BEGIN_CALL: END_CALL, "<tool_calls>": "</tool_calls>"}
_LABEL = "**Tool Call:**"
"""Before a block, in one of the forms that G1 was trained on."""
_LANGUAGES = ("", "json", "JSON", "Json", "tool_call", "tool_calls", "function_call")
"""Of blocks that may be calls; with any other it is somebody's code."""
_LANGUAGE = re.compile("[A-Za-z0-9_+#-]*")
_LONGEST = 32
"""No marker is as long."""


@dataclass(frozen=True)
class Own:
    """The marker of one syntax, and what an answer may begin with instead of it."""

    mark: str
    bare: str = ""
    """Some markers are tokens without text."""


OWN: dict[CallSyntax, Own] = {
    "g1": Own(FENCE),
    "hermes": Own(BEGIN_CALL),
    "mistral": Own("[TOOL_CALLS]", bare="["),
    "llama": Own("<|python_tag|>", bare="{"),
}


@dataclass(frozen=True)
class Opener:
    """What has begun around calls that follow."""

    closer: str = ""
    """What ends it; it may be left out."""
    is_sure: bool = False
    """What follows is a call, whatever its name."""
    is_code: bool = False
    """A block of something else."""

    @property
    def is_block(self) -> bool:
        """Whether it is a fenced block."""
        return self.closer == FENCE


LIST = Opener("]")
OBJECT = Opener("}")


class Marks:
    """Where calls may begin in an answer."""

    def __init__(
        self,
        openers: dict[str, Opener],
        languages: tuple[str, ...],
        bare_start: str,
        has_bare: bool,
    ) -> None:
        """What the markers begin, and the languages of fenced blocks that may be calls."""
        self.bare_start = bare_start
        """What may be a call where the answer begins with it."""
        self.has_bare = has_bare
        """Whether calls may be anywhere without a marker."""
        self.has_blocks = bool(languages)
        """Whether fenced blocks may be calls."""
        self._openers, self._languages = openers, languages
        self._all = (*openers, FENCE) if languages else tuple(openers)
        marks = [re.escape(mark) for mark in self._all]
        self.candidate = re.compile("|".join([*marks, r"[{\[]"] if has_bare else marks))
        """Finds where one may begin."""
        self.in_code = re.compile("|".join([*marks, FENCE]))
        """The same within a block of code; its end, too."""

    def begun_at(self, text: str, start: int) -> bool:
        """Whether all that is left of a text is the beginning of a marker."""
        rest = text[start : start + _LONGEST]
        return any(len(rest) < len(mark) and mark.startswith(rest) for mark in self._all)

    def held_from(self, text: str, start: int) -> int:
        """Where the longest end of a text begins with which a marker might begin."""
        for place in range(max(start, len(text) - _LONGEST), len(text)):
            if self.begun_at(text, place):
                return place
        return len(text)

    def opener_at(self, text: str, start: int) -> tuple[Opener, int] | None:
        """What begins at a place and where its marker ends, or None: nothing, or not all of it."""
        for mark, opener in self._openers.items():
            if text.startswith(mark, start):
                return opener, start + len(mark)
        if self.has_blocks and text.startswith(FENCE, start):
            found = _LANGUAGE.match(text, start + len(FENCE))
            assert found is not None
            if found.end() == len(text) and len(found[0]) <= _LONGEST:
                return None  # more of it may come
            return Opener(FENCE, is_code=found[0] not in self._languages), found.end()
        if text.startswith("[", start) and not self.begun_at(text, start):
            return LIST, start + 1
        return None


def marks_of(form: AnswerForm) -> Marks:
    """Those of an answer that may have calls."""
    assert form.calls is not None
    own = OWN[form.calls]
    marked = {} if own.mark == FENCE else {own.mark: Opener(_TAGS.get(own.mark, ""), is_sure=True)}
    if form.holds_calls:  # a grammar knows of no other form
        languages = ("json",) if own.mark == FENCE else ()
        return Marks(marked, languages, own.bare, has_bare=False)
    openers = {tag: Opener(closer, is_sure=True) for tag, closer in _TAGS.items()} | marked
    if not form.tool_names:
        return Marks(openers, (), own.bare, has_bare=False)
    return Marks(openers | {_LABEL: Opener()}, _LANGUAGES, own.bare, has_bare=True)
