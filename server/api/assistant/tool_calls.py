"""Calls of tools in a text, in the ways in which models write them."""

from dataclasses import dataclass
from typing import Literal

from server.api.assistant.answer import AnswerWriter
from server.api.assistant.call_object import CallObject
from server.api.assistant.held_text import split_at
from server.tokenizer.chat_template import CallSyntax
from server.tokenizer.tool_messages import BEGIN_CALL, END_CALL


@dataclass(frozen=True)
class Markup:
    """What stands around the JSON of calls."""

    begin: str
    bare: str = ""
    """With this an answer may begin instead: some markers are tokens without text."""
    bracket: str = ""
    """May follow the marker."""
    separators: tuple[str, ...] = ()
    """After a call: another one follows."""
    end: str = ""
    """After the last one."""


MARKUP: dict[CallSyntax, Markup] = {
    "hermes": Markup(BEGIN_CALL, end=END_CALL),
    "mistral": Markup("[TOOL_CALLS]", bare="[", bracket="[", separators=(",",), end="]"),
    "llama": Markup("<|python_tag|>", bare="{", separators=(";", ",")),
}


class CallReader:
    """Takes the calls out of a text. What begins like one and is none is content."""

    def __init__(self, syntax: CallSyntax, writer: AnswerWriter) -> None:
        self._markup = MARKUP[syntax]
        self._writer = writer
        self._place: Literal["start", "text", "before", "within", "after"] = "start"
        self._held = ""
        self._call = CallObject()
        self._raw: list[str] = []
        """What was read of something that is not known to be a call yet."""

    def read(self, text: str) -> None:
        """Give the next part of the text."""
        self._held += text
        while self._held and self._step():
            pass

    def end(self) -> None:
        """No more comes."""
        if self._place == "within" and self._call.name is not None:
            return
        if self._place != "after":
            self._writer.say("".join(self._raw) + self._held)
        self._held = ""

    def _step(self) -> bool:
        """Get on with what is held; whether there is more to be done with it."""
        match self._place:
            case "start":
                return self._start()
            case "text":
                return self._find_marker()
            case "before":
                return self._open()
            case "within":
                return self._read_call()
            case "after":
                return self._close()

    def _start(self) -> bool:
        text = self._held.lstrip()
        if not text:
            return False
        self._place = "text"
        if self._markup.bare and text.startswith(self._markup.bare):
            if self._markup.begin.startswith(text):
                self._place = "start"  # "[" may be one or the other
                return False
            if not text.startswith(self._markup.begin):
                self._place = "before"
        return True

    def _find_marker(self) -> bool:
        said, found, self._held = split_at(self._held, self._markup.begin)
        self._writer.say(said)
        if found:
            self._raw.append(self._markup.begin)
            self._place = "before"
        return found

    def _open(self) -> bool:
        text = self._held.lstrip()
        if not text:
            return False
        blanks = len(self._held) - len(text)
        has_bracket = text.startswith(self._markup.bracket)
        self._use(blanks + (len(self._markup.bracket) if has_bracket else 0))
        self._place, self._call = "within", CallObject()
        return True

    def _read_call(self) -> bool:
        call = self._call
        was_known = call.name is not None
        self._use(call.read(self._held))
        if call.name is not None:
            if not was_known:
                self._writer.begin_call(call.name)
            self._raw.clear()
            self._writer.add_arguments(call.take_arguments())
        if not call.done and not call.failed:
            return False
        if call.name is None:
            self._writer.say("".join(self._raw))
            self._raw.clear()
            self._place = "text"
        else:
            self._place = "after"
        return True

    def _close(self) -> bool:
        """After a call: its end, or another one; what is neither is text."""
        text = self._held.lstrip()
        if not text:
            return False
        for separator in self._markup.separators:
            if text.startswith(separator):
                self._use(len(self._held) - len(text) + len(separator))
                self._place, self._call = "within", CallObject()
                return True
        end = self._markup.end
        if end and text.startswith(end):
            self._held = text[len(end) :]
        elif end and end.startswith(text):
            return False
        self._place = "text"
        return True

    def _use(self, length: int) -> None:
        self._raw.append(self._held[:length])
        self._held = self._held[length:]
