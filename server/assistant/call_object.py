"""One call of a function, as JSON that comes piece by piece."""

from collections.abc import Generator
from typing import Literal

from server.assistant.json_characters import (
    BLANKS,
    Characters,
    MalformedError,
    after_blanks,
    expect,
    quoted_character,
    string,
    value,
)
from server.assistant.offered_names import OfferedNames

_ARGUMENTS = ("arguments", "parameters")
_FURTHER_ARGUMENTS = ("args", "params")
"""Only after the name."""
_WRAPPERS = ("function", "function_call", "tool_call")
_LIST = "tool_calls"
_PASSED_OVER = ("id", "call_id", "type", "index")
"""What a call may have besides, where other keys say that it is none."""
_MOST_LEVELS = 3
"""Of wrappers."""
_LONGEST = 256
"""Of keys and names, where it need not be a call."""

Trust = Literal["marked", "unmarked", "exact"]
"""Whether markers say that it is a call; or its keys must, and an offered name; or it must be just
as a grammar has it, {"name": "…", "arguments": …}."""


class _ListError(Exception):
    """A list of calls has begun."""


class CallObject:
    """Reads {"name": …, "arguments": {…}}, its keys in any order, others among them.

    The name may be that of the key `function`, and both may be within `function`, `function_call`
    or `tool_call`. The arguments are not parsed but balanced, and so are given on as they come.
    They end as well where they cannot be JSON.
    """

    def __init__(self, names: OfferedNames, trust: Trust = "marked") -> None:
        self.name: str | None = None
        """Set when the arguments have begun, too: from then on it is a call."""
        self.done = False
        self.failed = False
        self.begins_list = False
        """It is {"tool_calls": [, whose calls follow."""
        self._names = names
        self._trust = trust
        self._keys = 0
        self._key_name: str | None = None
        self._arguments: list[str] = []
        self._has_arguments = False
        self._characters = self._read_object()
        next(self._characters)

    def read(self, text: str, start: int) -> int:
        """Give the text from a place on; returns where what was used of it ends.

        That is before its end if done or failed, or if a list begins.
        """
        for position in range(start, len(text)):
            try:
                self._characters.send(text[position])
            except StopIteration:
                self.done = True
                return position + 1
            except _ListError:
                self.begins_list = True
                return position + 1
            except MalformedError:
                self.failed = True
                return position
        return len(text)

    def take_arguments(self) -> str:
        """What came of the arguments since the last time; only if there is a name."""
        text = "".join(self._arguments)
        self._arguments.clear()
        return text

    def _read_object(self) -> Generator[None, str, None]:
        expect((yield from after_blanks()), "{")
        yield from self._read_pairs(0)
        if self._key_name is None:
            raise MalformedError
        if not self._has_arguments:
            if self._trust != "marked":
                raise MalformedError
            self._arguments.append("{}")
        self.name = self._key_name

    def _read_pairs(self, level: int) -> Generator[None, str, None]:
        """To the end of the object; its opening bracket has come."""
        character = yield from after_blanks()
        while character != "}":
            expect(character, '"')
            key = yield from self._short_string()
            self._keys += 1
            expect((yield from after_blanks()), ":")
            character = yield from self._read_value(key, (yield from after_blanks()), level)
            if character == ",":
                character = yield from after_blanks()
                expect(character, '"')
            else:
                expect(character, "}")

    def _read_value(self, key: str, first: str, level: int) -> Characters:
        """Returns the first character after the value that is no blank."""
        if self._trust == "exact" and key != {1: "name", 2: "arguments"}.get(self._keys, key):
            raise MalformedError
        if self._key_name is None and (key == "name" or (key, first) == ("function", '"')):
            expect(first, '"')
            yield from self._read_name()
            return (yield from after_blanks())
        if key in _WRAPPERS and first == "{" and level < _MOST_LEVELS and self.name is None:
            yield from self._read_pairs(level + 1)
            return (yield from after_blanks())
        if key == _LIST and first == "[" and self._keys == 1:
            raise _ListError
        if not self._has_arguments and self._may_be_arguments(key):
            return (yield from self._read_arguments(first))
        if self._trust != "marked" and self.name is None and key not in _PASSED_OVER:
            raise MalformedError
        return (yield from value(first, []))

    def _may_be_arguments(self, key: str) -> bool:
        return key in _ARGUMENTS or (key in _FURTHER_ARGUMENTS and self._key_name is not None)

    def _read_name(self) -> Generator[None, str, None]:
        written = yield from self._short_string()
        found = self._names.find(written)
        if not written or (found is None and self._trust != "marked"):
            raise MalformedError
        self._key_name = found or written
        if self._has_arguments:
            self.name = self._key_name

    def _short_string(self) -> Generator[None, str, str]:
        """A key or a name; its opening quote has come."""
        if self._trust == "marked":
            return (yield from string())
        return (yield from string(_LONGEST, may_escape=self._trust != "exact"))

    def _read_arguments(self, first: str) -> Characters:
        # An object as a string, as some models write it; no grammar has it so.
        if first == '"' and self._trust != "exact":
            yield from self._read_quoted_arguments()
            return (yield from after_blanks())
        if first == "n" and self._trust != "exact":
            word: list[str] = []
            following = yield from value(first, word)
            if "".join(word) != "null":
                raise MalformedError
            if self._trust != "marked":  # there has to be some
                self._begin_arguments("{}")
            return following
        expect(first, "{")
        self._begin_arguments()
        return (yield from value(first, self._arguments))

    def _read_quoted_arguments(self) -> Generator[None, str, None]:
        """The value of a string, as it comes: an object, or nothing."""
        begun = False
        while (character := (yield from quoted_character())) is not None:
            if not begun and character in BLANKS:
                continue
            if not begun:
                expect(character, "{")
                begun = True
                self._begin_arguments()
            self._arguments.append(character)
        if not begun:
            self._begin_arguments("{}")

    def _begin_arguments(self, text: str = "") -> None:
        self._has_arguments = True
        self._arguments.append(text)
        self.name = self._key_name
