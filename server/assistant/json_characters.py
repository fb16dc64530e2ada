"""JSON read character by character, as far as calls of functions need it."""

import json
from collections.abc import Generator

BLANKS = " \t\r\n"
_NEVER_IN_JSON = "<`"
"""Outside of strings; but in the markers that end a call."""
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "/": "/"}

_decode = json.JSONDecoder(strict=False).decode  # newlines in strings are let through

Characters = Generator[None, str, str]
"""Is sent the text character by character, and returns the first one that it did not use."""


class MalformedError(Exception):
    """The character that was sent cannot follow."""


def expect(character: str, wanted: str) -> None:
    """Raise MalformedError for any other character than the one that is wanted."""
    if character != wanted:
        raise MalformedError


def after_blanks() -> Characters:
    """The first character that is no blank."""
    while (character := (yield)) in BLANKS:
        pass
    return character


def string(most: int | None = None, may_escape: bool = True) -> Characters:
    """A string's value; its opening quote has come. With a limit it is of one line."""
    text = ['"']
    yield from _quoted(text, most)
    try:
        value = _decode("".join(text))
        value.encode()  # no half surrogate pairs
    except ValueError:
        raise MalformedError from None
    if not may_escape and "\\" in text:
        raise MalformedError
    return str(value)


def value(first: str, text: list[str]) -> Characters:
    """Append any value to `text`; returns the first character after it that is no blank."""
    text.append(first)
    if first in "{[":
        yield from _nested(text)
    elif first == '"':
        yield from _quoted(text)
    elif first.isalnum() or first == "-":  # a number, true, false or null
        while (character := (yield)).isalnum() or character in "+-.":
            text.append(character)
        return character if character not in BLANKS else (yield from after_blanks())
    else:
        raise MalformedError
    return (yield from after_blanks())


def _nested(text: list[str]) -> Generator[None, str, None]:
    depth = 1
    while depth:
        character = yield
        if character in _NEVER_IN_JSON:
            raise MalformedError
        text.append(character)
        if character == '"':
            yield from _quoted(text)
        elif character in "{[":
            depth += 1
        elif character in "}]":
            depth -= 1


def _quoted(text: list[str], most: int | None = None) -> Generator[None, str, None]:
    escaped = False
    while True:
        character = yield
        if most is not None and (len(text) > most or character == "\n"):
            raise MalformedError
        text.append(character)
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == '"':
            return


def quoted_character() -> Generator[None, str, str | None]:
    """The next one of a string's value; None at its end."""
    character = yield
    if character == '"':
        return None
    if character != "\\":
        return character
    character = yield
    if character != "u":
        if character not in _ESCAPES:
            raise MalformedError
        return _ESCAPES[character]
    code = yield from _code()
    if 0xD800 <= code < 0xDC00:  # the first half of a pair
        expect((yield), "\\")
        expect((yield), "u")
        second = yield from _code()
        if not 0xDC00 <= second < 0xE000:
            raise MalformedError
        return chr(0x10000 + ((code - 0xD800) << 10) + (second - 0xDC00))
    if 0xDC00 <= code < 0xE000:
        raise MalformedError
    return chr(code)


def _code() -> Generator[None, str, int]:
    """The four hexadecimal digits of an escape."""
    code = 0
    for _ in range(4):
        digit = yield
        if digit not in "0123456789abcdefABCDEF":
            raise MalformedError
        code = code * 16 + int(digit, 16)
    return code
