"""Whether a place in a text is within JSON that the text has in it."""

import re

_SIGN = re.compile(r'["\\{}\[\]\n]')


class Nesting:
    """Counts the brackets of a text that comes piece by piece.

    Text has brackets that are never closed, so an empty line ends all that is open, and a string
    ends with its line.
    """

    def __init__(self) -> None:
        self.in_string = False
        self._depth = 0
        self._length = 0
        self._escaped = -1
        """Where the character is that a backslash stands before."""
        self._line = 0
        """Where the line begins."""

    @property
    def begins_value(self) -> bool:
        """Whether a bracket would begin JSON of its own: not within other, or in a new line."""
        return self._depth == 0 or self._line == self._length

    def feed(self, text: str, start: int = 0, end: int | None = None) -> None:
        """More of the text."""
        end = len(text) if end is None else end
        for found in _SIGN.finditer(text, start, end):
            place = self._length + found.start() - start
            if found[0] == "\n":
                self._end_line(place)
            elif place != self._escaped:
                self._take(found[0], place)
        self._length += end - start

    def _end_line(self, place: int) -> None:
        self.in_string = False
        if self._line == place:
            self._depth = 0
        self._line = place + 1

    def _take(self, sign: str, place: int) -> None:
        if self.in_string:
            self.in_string = sign != '"'
            if sign == "\\":
                self._escaped = place + 1
        elif sign == '"':
            self.in_string = self._depth > 0
        elif sign in "{[":
            self._depth += 1
        elif sign in "}]" and self._depth:
            self._depth -= 1
