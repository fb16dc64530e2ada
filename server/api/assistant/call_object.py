"""One call of a function, as JSON that comes piece by piece."""

import json
from collections.abc import Generator

_NAMES = ("name",)
_ARGUMENTS = ("arguments", "parameters")
_BLANKS = " \t\r\n"

_decode = json.JSONDecoder(strict=False).decode  # newlines in strings are let through

Characters = Generator[None, str, str]
"""Is sent the text character by character, and returns the first one that it did not use."""


class _MalformedError(Exception):
    """The character that was sent cannot follow."""


class CallObject:
    """Reads {"name": …, "arguments": {…}}, its keys in any order, others among them.

    The arguments are not parsed but balanced, and so are given on as they come. They end as well
    where they cannot be JSON.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        """Set when the arguments have begun, too: from then on it is a call."""
        self.done = False
        self.failed = False
        self._key_name: str | None = None
        self._arguments: list[str] = []
        self._has_arguments = False
        self._characters = self._read_object()
        next(self._characters)

    def read(self, text: str) -> int:
        """Give the next text; returns how much of it was used: not all if done or failed."""
        for position, character in enumerate(text):
            try:
                self._characters.send(character)
            except StopIteration:
                self.done = True
                return position + 1
            except _MalformedError:
                self.failed = True
                return position
        return len(text)

    def take_arguments(self) -> str:
        """What came of the arguments since the last time; only if there is a name."""
        text = "".join(self._arguments)
        self._arguments.clear()
        return text

    def _read_object(self) -> Generator[None, str, None]:
        _expect((yield from _after_blanks()), "{")
        character = yield from _after_blanks()
        while character != "}":
            _expect(character, '"')
            key = yield from _string()
            _expect((yield from _after_blanks()), ":")
            character = yield from self._read_value(key, (yield from _after_blanks()))
            if character == ",":
                character = yield from _after_blanks()
                _expect(character, '"')
            else:
                _expect(character, "}")
        if self._key_name is None:
            raise _MalformedError
        if not self._has_arguments:
            self._arguments.append("{}")
        self.name = self._key_name

    def _read_value(self, key: str, first: str) -> Characters:
        """Returns the first character after the value that is no blank."""
        if key in _NAMES and self._key_name is None:
            _expect(first, '"')
            self._key_name = yield from _string()
            if not self._key_name:
                raise _MalformedError
            if self._has_arguments:
                self.name = self._key_name
            return (yield from _after_blanks())
        if key in _ARGUMENTS and not self._has_arguments:
            return (yield from self._read_arguments(first))
        return (yield from _value(first, []))

    def _read_arguments(self, first: str) -> Characters:
        if first == '"':  # an object as a string, as some models write it
            text = yield from _string()
            if not text.lstrip().startswith("{"):
                raise _MalformedError
            self._arguments.append(text)
            self._begin_arguments()
            return (yield from _after_blanks())
        if first == "n":
            word: list[str] = []
            following = yield from _value(first, word)
            if "".join(word) != "null":
                raise _MalformedError
            return following
        _expect(first, "{")
        self._begin_arguments()
        return (yield from _value(first, self._arguments))

    def _begin_arguments(self) -> None:
        self._has_arguments = True
        self.name = self._key_name


def _expect(character: str, wanted: str) -> None:
    if character != wanted:
        raise _MalformedError


def _after_blanks() -> Characters:
    while (character := (yield)) in _BLANKS:
        pass
    return character


def _string() -> Characters:
    """A string's value; its opening quote has come."""
    text = ['"']
    yield from _quoted(text)
    try:
        value = _decode("".join(text))
        value.encode()  # no half surrogate pairs
    except ValueError:
        raise _MalformedError from None
    return str(value)


def _value(first: str, text: list[str]) -> Characters:
    """Append any value to `text`; returns the first character after it that is no blank."""
    text.append(first)
    if first in "{[":
        yield from _nested(text)
    elif first == '"':
        yield from _quoted(text)
    elif first.isalnum() or first == "-":  # a number, true, false or null
        while (character := (yield)).isalnum() or character in "+-.":
            text.append(character)
        return character if character not in _BLANKS else (yield from _after_blanks())
    else:
        raise _MalformedError
    return (yield from _after_blanks())


def _nested(text: list[str]) -> Generator[None, str, None]:
    depth = 1
    while depth:
        character = yield
        if character == "<":  # never in JSON, but in the markers that end a call
            raise _MalformedError
        text.append(character)
        if character == '"':
            yield from _quoted(text)
        elif character in "{[":
            depth += 1
        elif character in "}]":
            depth -= 1


def _quoted(text: list[str]) -> Generator[None, str, None]:
    escaped = False
    while True:
        character = yield
        text.append(character)
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == '"':
            return
