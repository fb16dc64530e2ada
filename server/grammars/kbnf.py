"""KBNF, the grammars of Ai00 (bnf_schema), as Lark: rules, literals and regular expressions.

    start ::= "{" key ": " #"[0-9]+" "}";
    key ::= '"a"' | '"b"';

Names may also stand in angle brackets, and rules end without a semicolon, as in older versions.
"""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from server.grammars.errors import GrammarError

_TOKEN = re.compile(
    r"""\s+ | \(\*.*?\*\)
    | (?P<literal>"(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*')
    | (?P<regex>\#(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'))
    | (?P<special>\#\w+ | [A-Za-z_]\w*!)
    | (?P<name><[A-Za-z_][\w -]*> | [A-Za-z_]\w*)
    | (?P<sign>::=|[|()?*+;,{}\[\]])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(
    r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2})|u\{([0-9a-fA-F]{1,6})\}|(.))",
    re.DOTALL,
)
_BARE = re.compile(r"\\.|[/\n]", re.DOTALL)
_CHARACTERS = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "'": "'", '"': '"', "/": "/"}
_PAIRS = {"[": ("(", ""), "]": (")?", ""), "{": ("(", ""), "}": (")*", "")}
_SHOWN = 40


class _Token(NamedTuple):
    kind: str
    text: str


def kbnf_grammar(source: str) -> str:
    """The same as Lark. Raises GrammarError, also for what Lark has not: except!, #substrs."""
    tokens = list(_tokens(source))
    names = _defined(tokens)
    if "start" not in names:
        raise GrammarError("has no rule start")
    lines: list[list[str]] = []
    for place, (kind, text) in enumerate(tokens):
        if kind == "name" and _begins_rule(tokens, place):
            lines.append([f"{names[text]}:"])
        elif not lines:
            raise GrammarError(
                f"should begin with a rule, as in start ::= …; not {text[:_SHOWN]!r}"
            )
        elif kind == "name":
            if text not in names:
                raise GrammarError(f"has no rule {text[:_SHOWN]}")
            lines[-1].append(names[text])
        elif kind != "sign":
            lines[-1].append(_terminal(kind, text))
        elif text not in ("::=", ";", ","):
            lines[-1].append(_PAIRS.get(text, (text, ""))[0])
    for name, line in zip(names, lines, strict=True):  # both are in the order of the rules
        if len(line) == 1:
            raise GrammarError(f'has nothing in its rule {name[:_SHOWN]}; write "" for nothing')
    return "\n".join(map(" ".join, lines))


def _tokens(source: str) -> Iterator[_Token]:
    place = 0
    while place < len(source):
        found = _TOKEN.match(source, place)
        if found is None:
            raise GrammarError(f"is not KBNF at {source[place : place + _SHOWN]!r}")
        place = found.end()
        kind = found.lastgroup
        if kind == "special":
            raise GrammarError(f"uses {found[0][:_SHOWN]}, which has no equal here; use grammar")
        if kind is not None:
            text = found[0].strip("<>") if kind == "name" else found[0]
            yield _Token(kind, text)


def _begins_rule(tokens: list[_Token], place: int) -> bool:
    return tokens[place + 1 : place + 2] == [_Token("sign", "::=")]


def _defined(tokens: list[_Token]) -> dict[str, str]:
    """What each rule is called in Lark, whose rules have small letters only."""
    names: dict[str, str] = {}
    for place, (kind, text) in enumerate(tokens):
        if kind == "name" and _begins_rule(tokens, place):
            if text in names:
                raise GrammarError(f"has two rules {text[:_SHOWN]}")
            names[text] = "start" if text == "start" else f"rule_{len(names)}"
    return names


def _terminal(kind: str, text: str) -> str:
    if kind == "literal":
        return json.dumps(_ESCAPE.sub(_character, text[1:-1]), ensure_ascii=False)
    # Between the slashes of Lark neither of these may stand as it is.
    pattern = _ESCAPE.sub(_character, text[2:-1])
    return f"/{_BARE.sub(_shielded, pattern)}/"


def _shielded(found: re.Match[str]) -> str:
    return {"/": r"\/", "\n": r"\n", "\\\n": r"\n"}.get(found[0], found[0])


def _character(found: re.Match[str]) -> str:
    if found[5] is not None:
        if found[5] not in _CHARACTERS:
            raise GrammarError(f"has the escape {found[0]}, which means nothing in KBNF")
        return _CHARACTERS[found[5]]
    code = int(found[1] or found[2] or found[3] or found[4], 16)
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise GrammarError(f"has the escape {found[0]}, which is no character")
    return chr(code)
