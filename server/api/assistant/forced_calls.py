"""Grammars that hold an answer to calls of tools, in llguidance's own forms."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from server.api.assistant.form import AnswerForm
from server.api.assistant.thoughts import BEGIN, END
from server.grammars.forms import closed, several
from server.tokenizer.chat_template import CallSyntax
from server.tokenizer.tool_messages import BEGIN_CALL, END_CALL

MOST_CALLS = 8
"""In an answer that must call: a weak model would not find the end by itself."""

# As models write JSON. Any blanks would be allowed otherwise, without end.
_SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_END = END.replace("/", r"\/")  # in a regex of Lark
_NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True)
class ToolChoice:
    """Which functions may be called, and whether one must be."""

    mode: Literal["none", "auto", "required", "named"] = "auto"
    names: tuple[str, ...] = ()
    """Empty: all of them."""


ANY_TOOL = ToolChoice()


@dataclass(frozen=True)
class _Layout:
    """What stands around calls."""

    begin: str
    opening: str
    closing: str
    separator: str = ""
    """Between calls that share a beginning; empty: each has its own."""
    arguments: str = "arguments"


_LAYOUTS: dict[CallSyntax, _Layout] = {
    "hermes": _Layout(BEGIN_CALL, "\n", f"\n{END_CALL}"),
    "mistral": _Layout("[TOOL_CALLS]", "[", "]", ", "),
    "llama": _Layout("", "", "", "; ", "parameters"),
}


def answer_grammar(
    form: AnswerForm,
    tools: Sequence[Mapping[str, Any]] = (),
    choice: ToolChoice = ANY_TOOL,
    content: str = "",
) -> str:
    """What the whole answer must match; empty: anything.

    Calls are held to their schemas if one must be made, if not all functions may be called, or if
    one that may is strict. `content` is the grammar of an answer that is no call, in a form of
    llguidance's own: it does not hold for thoughts, nor where a call must be made.
    """
    functions = [tool["function"] for tool in tools]
    allowed = [each for each in functions if not choice.names or each["name"] in choice.names]
    forced = choice.mode in ("required", "named")
    held = forced or content or choice.names or any(each.get("strict") for each in allowed)
    if form.calls is None or choice.mode == "none" or not allowed or not held:
        thoughts = _thoughts(form) if content else ""
        return several(_lark(thoughts, "@content"), content=content) if thoughts else content
    layout, thoughts = _LAYOUTS[form.calls], _thoughts(form)
    most = MOST_CALLS if form.parallel_calls and choice.mode != "named" else 1
    rules = [*_rules(layout, most), *_functions(layout, allowed)]
    if forced:
        return _lark(thoughts, "LEAD calls", *rules)
    if content:
        return several(_lark(thoughts, "LEAD (calls | @content)", *rules), content=content)
    if layout.begin:
        text = f"head[lazy]: /(.|\\n)*{re.escape(layout.begin)}/", "TEXT: /(.|\\n)*/"
        return _lark(thoughts, f"(head block){'*' if most > 1 else '?'} TEXT", *text, *rules)
    return _lark(thoughts, "LEAD (calls | TEXT)?", r"TEXT: /[^{ \n](.|\n)*/", *rules)


def _rules(layout: _Layout, most: int) -> list[str]:
    begin, opening, closing = map(_quoted, (layout.begin, layout.opening, layout.closing))
    functions, calls = "function", f"{begin} block"
    if layout.separator:
        functions += _repeated(f"{_quoted(layout.separator)} function", most)
    else:
        calls += _repeated(f'"\\n" {begin} block', most)
    return [r"LEAD: /[ \n]{0,2}/", f"calls: {calls}", f"block: {opening} {functions} {closing}"]


def _repeated(rule: str, most: int) -> str:
    return f" ({rule}){{0,{most - 1}}}" if most > 1 else ""


def _functions(layout: _Layout, functions: Iterable[Mapping[str, Any]]) -> list[str]:
    rules = []
    for number, function in enumerate(functions):
        schema = {
            "type": "object",  # what arguments always are, also where their schema leaves it out
            **closed(function.get("parameters") or _NO_PARAMETERS),
            "x-guidance": _SPACING,
        }
        head = _quoted(f'{{"name": "{function["name"]}", "{layout.arguments}": ')
        rules.append(f'function_{number}: {head} %json {json.dumps(schema)} "}}"')
    names = " | ".join(f"function_{number}" for number in range(len(rules)))
    return [f"function: {names}", *rules]


def _thoughts(form: AnswerForm) -> str:
    """What comes before the rest of the answer."""
    if form.opening.thinks:
        return f"thoughts[lazy]: /(.|\\n)*{_END}/"
    if form.opening.owed:
        return f"thoughts: {_quoted(form.opening.owed)}"
    if form.reasons and not form.continued:
        return f"thoughts: thinking?\nthinking[lazy]: /[ \\n]{{0,2}}{BEGIN}(.|\\n)*{_END}/"
    return ""


def _lark(thoughts: str, answer: str, *rules: str) -> str:
    before = ("start: thoughts", thoughts) if thoughts else ("start:",)
    return "\n".join(["%llguidance {}", f"{before[0]} {answer}", *before[1:], *rules])


def _quoted(text: str) -> str:
    """A Lark string; nothing for no text."""
    return json.dumps(text) if text else ""
