"""The thoughts at the beginning of an answer."""

from typing import Literal

from server.assistant.answer import AnswerWriter
from server.assistant.form import AnswerForm
from server.assistant.held_text import split_at

BEGIN, END = "<think>", "</think>"


class ThoughtReader:
    """Takes the thoughts out of a text, without blanks around them; later tags are text."""

    def __init__(self, form: AnswerForm, writer: AnswerWriter) -> None:
        self._writer = writer
        self._owed = form.opening.owed
        self._place: Literal["before", "amid", "after"] = "after"
        if form.opening.thinks:
            self._place = "amid"
        elif form.reasons and not form.continued and not form.opening.owed:
            self._place = "before"
        self._held = ""
        self._blanks: list[str] = []
        """Before what is held, in pieces: a model may write them without end."""
        self._begun = False
        self._read = 0
        self._end: int | None = None

    @property
    def characters(self) -> int:
        """How many characters of the text so far are thoughts, with tags; 0 without any."""
        if self._end is not None:
            return self._end
        return self._read if self._place == "amid" else 0

    def read(self, text: str) -> str:
        """Give the next part of the text; returns what of it is none of the thoughts."""
        self._read += len(text)
        self._held += text
        if self._owed:
            if not self._held:
                return ""
            self._held = self._held.removeprefix(self._owed)
            self._owed = ""
        if self._place == "before":
            self._find_begin()
        if self._place == "amid":
            self._think()
        if self._place != "after":
            return ""
        return self._take()

    def end(self) -> str:
        """No more comes; returns what was held back and is none of the thoughts."""
        is_whole = self._place != "amid" or bool(self._held)
        text = self._take()
        if self._place == "amid":
            self._writer.think(text if is_whole else "")
            return ""
        return text

    def _find_begin(self) -> None:
        text = self._held.lstrip()
        self._blanks.append(self._held[: len(self._held) - len(text)])
        self._held = text
        if text.startswith(BEGIN):
            self._place, self._held = "amid", text[len(BEGIN) :]
            self._blanks.clear()
        elif not BEGIN.startswith(text):
            self._place = "after"

    def _think(self) -> None:
        if not self._begun:
            self._held = self._held.lstrip()
        thought, is_end, rest = split_at(self._held, END)
        said = thought.rstrip()
        if said:
            self._writer.think("".join((*self._blanks, said)))
            self._blanks.clear()
            self._begun = True
        self._blanks.append(thought[len(said) :])
        self._held = rest
        if is_end:
            self._blanks.clear()
            self._place = "after"
            self._end = self._read - len(rest)

    def _take(self) -> str:
        """All that is held, with the blanks before it."""
        text = "".join((*self._blanks, self._held))
        self._blanks.clear()
        self._held = ""
        return text
