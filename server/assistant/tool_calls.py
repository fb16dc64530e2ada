"""Calls of tools in a text, in all the ways in which models write them."""

import re
from typing import Literal

from server.assistant.answer import AnswerWriter
from server.assistant.call_marks import LIST, OBJECT, Opener, marks_of
from server.assistant.call_object import CallObject
from server.assistant.form import AnswerForm
from server.assistant.json_characters import BLANKS
from server.assistant.nesting import Nesting
from server.assistant.offered_names import OfferedNames
from server.tokenizer.tool_text import FENCE

_SEPARATORS = (",", ";")
_MOST_OPENERS = 8
_WORD = re.compile(f"[^{BLANKS}]")


class CallReader:
    """Takes the calls out of a text. What begins like one and is none is content.

    A call is what a marker says to be one, or, anywhere but in other JSON and in blocks of code,
    an object with the keys of a call and the name of an offered function.
    """

    def __init__(self, form: AnswerForm, writer: AnswerWriter) -> None:
        self._marks = marks_of(form)
        self._names = OfferedNames(form.tool_names)
        self._is_exact = form.holds_calls and form.calls == "g1"
        self._writer = writer
        self._place: Literal["start", "text", "opening", "within", "after"] = "start"
        self._held = ""
        self._at = 0
        """Up to where what is held has been used."""
        self._blanks: list[str] = []
        """Before what is held, in pieces: a model may write them without end."""
        self._nesting = Nesting()
        self._in_code = False
        self._drops_fence = False
        """Whether the end of the block is no content: calls were its beginning."""
        self._open: list[Opener] = []
        self._is_sure = False
        self._has_called = False
        """Whether a call has come since something began that may be one."""
        self._raw: list[str] = []
        """What was read of something that is not known to be a call yet."""
        self._call = self._new_call()
        self._last = ""
        """The last character of what was said."""

    def read(self, text: str) -> None:
        """Give the next part of the text."""
        if not self._held and self._awaits_word and not text.strip(BLANKS):
            self._blanks.append(text)
            return
        self._held, self._at = "".join((*self._blanks, self._held, text)), 0
        self._blanks.clear()
        while self._at < len(self._held) and self._step():
            pass
        self._held = self._held[self._at :]
        if self._awaits_word and not self._held.strip(BLANKS):
            self._blanks, self._held = [self._held], ""

    def end(self) -> None:
        """No more comes."""
        rest = "".join((*self._blanks, self._held))
        self._blanks.clear()
        self._held = ""
        if self._place == "within" and self._call.name is not None:
            return
        if self._place == "after" and any(
            opener.closer.startswith(rest.strip(BLANKS)) for opener in self._open
        ):
            return
        self._writer.say("".join((*self._raw, rest)))

    @property
    def _awaits_word(self) -> bool:
        """Whether nothing is to be made of blanks until something follows."""
        return self._place in ("start", "opening", "after")

    def _step(self) -> bool:
        """Get on with what is held; whether there is more to be done with it."""
        match self._place:
            case "start":
                return self._start()
            case "text":
                return self._find_end_of_code() if self._in_code else self._find_candidate()
            case "opening":
                return self._open_next()
            case "within":
                return self._read_call()
            case "after":
                return self._go_on()

    def _start(self) -> bool:
        place = self._next_word()
        if place is None:
            return False
        bare = self._marks.bare_start
        if bare and self._held.startswith(bare, place) and not self._marks.has_bare:
            if self._marks.begun_at(self._held, place):
                return False  # "[" may be one or the other
            if self._marks.opener_at(self._held, place) in (None, (LIST, place + 1)):
                self._begin(self._at)
                self._is_sure = not self._names
                return True
        self._place = "text"
        return True

    def _find_candidate(self) -> bool:
        marks, text, told = self._marks, self._held, self._at
        for found in marks.candidate.finditer(text, self._at):
            place = found.start()
            self._nesting.feed(text, told, place)
            told = place
            if found[0] in "{[":
                if marks.begun_at(text, place):
                    break
                before = text[place - 1] if place > self._at else self._last
                if before == "`" or not self._nesting.begins_value:
                    continue
            if self._nesting.in_string and found[0] == FENCE:
                continue
            self._say_until(place)
            self._begin(place)
            return True
        place = marks.held_from(text, self._at)
        self._nesting.feed(text, told, max(told, place))
        self._say_until(place)
        return False

    def _find_end_of_code(self) -> bool:
        text = self._held
        found = self._marks.in_code.search(text, self._at)
        if found is None:
            self._say_until(self._marks.held_from(text, self._at))
            return False
        if found[0] != FENCE:
            self._say_until(found.start())
            self._begin(found.start())
            return True
        self._say_until(found.start() if self._drops_fence else found.end())
        self._at = found.end()
        self._in_code = self._drops_fence = False
        self._nesting = Nesting()
        return True

    def _begin(self, place: int) -> None:
        """Something that may be a call."""
        self._at = place
        self._open.clear()
        self._is_sure = self._has_called = False
        self._place = "opening"

    def _open_next(self) -> bool:
        """Markers, up to the object of a call."""
        place = self._next_word()
        if place is None:
            return False
        if self._held[place] == "{":
            self._use_until(place)
            self._begin_object()
            return True
        found = self._marks.opener_at(self._held, place)
        if found is None and self._may_be_begun(place):
            return False
        if found is None or len(self._open) == _MOST_OPENERS:
            self._fail()
            return True
        opener, end = found
        if self._is_exact and opener is LIST:
            self._fail()
            return True
        self._use_until(end)
        self._open.append(opener)
        self._is_sure |= opener.is_sure and not self._in_code
        if opener.is_code:
            self._fail()
        return True

    def _may_be_begun(self, place: int) -> bool:
        """Whether a marker may still come of what is left."""
        text = self._held
        is_block = self._marks.has_blocks and text.startswith(FENCE, place)
        return is_block or self._marks.begun_at(text, place)

    def _begin_object(self) -> None:
        self._call, self._place = self._new_call(), "within"

    def _new_call(self) -> CallObject:
        if self._is_sure:
            return CallObject(self._names)
        return CallObject(self._names, "exact" if self._is_exact else "unmarked")

    def _read_call(self) -> bool:
        call = self._call
        was_known = call.name is not None
        self._use_until(call.read(self._held, self._at))
        if call.name is not None:
            if not was_known:
                self._writer.begin_call(call.name)
                self._has_called = True
            self._raw.clear()
            self._writer.add_arguments(call.take_arguments())
        if call.begins_list:
            self._open += [OBJECT, LIST]
            self._place = "opening"
            return True
        if not call.done and not call.failed:
            return False
        if call.name is None:
            self._fail()
        else:
            self._place = "after"
        return True

    def _fail(self) -> None:
        """It is no call, but content."""
        raw = "".join(self._raw)
        self._raw.clear()
        self._nesting.feed(raw)
        self._say(raw)
        self._go_to_text()

    def _go_to_text(self) -> None:
        """On, within a block perhaps, whose end belongs to its beginning."""
        if any(opener.is_block for opener in self._open):
            self._in_code, self._drops_fence = True, self._has_called
        self._open.clear()
        self._place = "text"

    def _go_on(self) -> bool:
        """After a call: the ends of what is around it, or another call; what is neither is text."""
        text, place = self._held, self._next_word()
        if place is None:
            return False
        if not self._open and text[place] not in _SEPARATORS:
            self._place = "text"
            return True
        for number in range(len(self._open) - 1, -1, -1):
            closer = self._open[number].closer
            if closer and text.startswith(closer, place):
                self._at = place + len(closer)
                del self._open[number:]
                return True
        if self._open and text[place] == "{":
            self._use_until(place)
            self._begin_object()
            return True
        if text[place] in _SEPARATORS:
            self._use_until(place + 1)
            self._place = "opening"
            return True
        return self._leave(place)

    def _leave(self, place: int) -> bool:
        """What is around a call ends, or goes on with another marker."""
        text = self._held
        if self._marks.opener_at(text, place) is not None:
            self._use_until(place)
            self._place = "opening"
            return True
        rest = text[place : place + 32]
        closers = [opener.closer for opener in self._open]
        if self._may_be_begun(place) or any(
            len(rest) < len(each) and each.startswith(rest) for each in closers
        ):
            return False
        self._go_to_text()
        return True

    def _next_word(self) -> int | None:
        """Where the first character is that is no blank."""
        found = _WORD.search(self._held, self._at)
        return found.start() if found else None

    def _use_until(self, place: int) -> None:
        self._raw.append(self._held[self._at : place])
        self._at = place

    def _say_until(self, place: int) -> None:
        if place > self._at:
            self._say(self._held[self._at : place])
            self._at = place

    def _say(self, text: str) -> None:
        if text:
            self._last = text[-1]
            self._writer.say(text)
