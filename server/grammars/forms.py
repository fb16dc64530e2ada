r"""Grammars as text, in llguidance's own forms: Lark, or the JSON of several named grammars.

What these functions give can be a request's grammar (`SamplingParams.grammar`), and can be part of
a larger one: a Lark text has JSON in it as `%json {…}`, and `several` lets one refer to others by
name, as `@name`. A call of one of two functions, say:

    several(
        'start: "<tool_call>" (@weather | @time) "</tool_call>"',
        weather=json_grammar(weather_schema),
        time=json_grammar(time_schema),
    )

Nothing here is checked: that is for GrammarChecker, whoever made the text.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from server.grammars.errors import GrammarError as GrammarError
from server.grammars.schemas.held import held_schema

_JSON_OPTIONS = {
    # One line, with a space where it is custom: a weak model writes whitespace forever if it may.
    "whitespace_flexible": False,
    "item_separator": ", ?",
    "key_separator": ": ?",
}

_GBNF_RULE = re.compile(r"^[ \t]*[\w-]+[ \t]*::=", re.MULTILINE)
_GBNF_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|.)", re.DOTALL)
_REGEX_PART = re.compile(r"\\\n|\\.|/|\n", re.DOTALL)
_UNESCAPED_END = re.compile(r"(?<!\\)(?:\\\\)*\$\Z")


def json_grammar(schema: Mapping[str, Any]) -> str:
    """JSON that a schema describes, in one line. Raises GrammarError."""
    # In place of options that the schema brings: those could have keywords ignored.
    return _document([{"json_schema": {**held_schema(schema), "x-guidance": _JSON_OPTIONS}}])


def regex_grammar(regex: str) -> str:
    """All of the output matches a regular expression."""
    pattern = regex.removeprefix("^")
    if _UNESCAPED_END.search(pattern):
        pattern = pattern[:-1]
    pattern = _REGEX_PART.sub(_regex_part, pattern)
    return f"start: /{pattern}/" if pattern else 'start: ""'


def choice_grammar(choices: Iterable[str]) -> str:
    """The output is one of some strings."""
    # As one terminal there may be thousands of them.
    return f"start: CHOICE\nCHOICE: {' | '.join(map(json.dumps, choices))}"


def several(lark: str, **named: str) -> str:
    """A Lark text, and what it means by `@name`: grammars of any form."""
    grammars: list[dict[str, Any]] = [{"lark_grammar": lark}]
    for name, grammar in named.items():
        first, *others = _parts(grammar)
        grammars += [{**first, "name": name}, *others]
    return _document(grammars)


def after_space(grammar: str) -> str:
    """The same, after a space or not."""
    return several('start: SPACE? @answer\nSPACE: " "', answer=grammar)


def is_gbnf(grammar: str) -> bool:
    """Whether a grammar is written as llama.cpp's are, rather than Lark's."""
    return _GBNF_RULE.search(grammar) is not None


def plain_gbnf(grammar: str) -> str:
    r"""GBNF with characters instead of `\uXXXX` and `\UXXXXXXXX`, which converters misread."""
    return _GBNF_ESCAPE.sub(_gbnf_escape, grammar)


def _parts(grammar: str) -> list[dict[str, Any]]:
    if not grammar.lstrip().startswith("{"):
        return [{"lark_grammar": grammar}]
    parts: list[dict[str, Any]] = json.loads(grammar)["grammars"]
    return parts


def _document(grammars: list[dict[str, Any]]) -> str:
    try:
        return json.dumps({"grammars": grammars})
    except RecursionError:
        raise GrammarError("nested too deeply") from None


def _regex_part(found: re.Match[str]) -> str:
    """As it can stand between the slashes of Lark."""
    part = found[0]
    if part.endswith("\n"):
        return r"\n"
    return r"\/" if part == "/" else part


def _gbnf_escape(found: re.Match[str]) -> str:
    digits = found[1] or found[2]
    if not digits or int(digits, 16) > 0x10FFFF:
        return found[0]
    code = int(digits, 16)
    return f"\\x{code:02x}" if code < 0x80 else chr(code)
