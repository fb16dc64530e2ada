"""Grammars that hold an answer to calls of tools, in llguidance's own forms."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from server.assistant.form import AnswerForm
from server.assistant.thoughts import BEGIN, END
from server.grammars.errors import MAX_BYTES, GrammarError
from server.grammars.forms import several
from server.grammars.schemas.disjoint import Comparison
from server.grammars.schemas.held import held_schema
from server.tokenizer.chat_template import CallSyntax
from server.tokenizer.tool_text import BEGIN_CALL, END_CALL, FENCE

MOST_CALLS = 8
"""In an answer that must call: a weak model would not find the end by itself."""

_BLANKS = r"[ \t\r\n]*"
_END = END.replace("/", r"\/")  # in a regex of Lark
_NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True)
class ToolChoice:
    """Which functions may be called, and whether one must be."""

    mode: Literal["none", "auto", "required", "named"] = "auto"
    names: tuple[str, ...] = ()
    """Empty: all of them."""

    @property
    def forces(self) -> bool:
        """Whether the answer must be a call."""
        return self.mode in ("required", "named")


ANY_TOOL = ToolChoice()


class ToolSchemaError(GrammarError):
    """The parameters of a tool have a schema that cannot be kept to."""

    def __init__(self, tool: int, message: str) -> None:
        super().__init__(message)
        self.tool = tool
        """Its number among the tools."""


@dataclass(frozen=True)
class _Layout:
    """What stands around calls."""

    begin: str
    opening: str
    closing: str
    separator: str = ""
    """Between calls that share a beginning; empty: each has its own."""
    arguments: str = "arguments"
    comma: str = ", "
    """As the model writes JSON. Any blanks would be allowed otherwise, without end."""
    colon: str = ": "

    @property
    def spacing(self) -> dict[str, Any]:
        """The same for llguidance."""
        separators = {"item_separator": self.comma, "key_separator": self.colon}
        return {"whitespace_flexible": False} | separators

    def head(self, name: str) -> str:
        """A call up to its arguments."""
        named = f'"name"{self.colon}"{name}"{self.comma}'
        return f'{{{named}"{self.arguments}"{self.colon}'


_LAYOUTS: dict[CallSyntax, _Layout] = {
    "g1": _Layout(f"{FENCE}json\n", "", f"\n{FENCE}", comma=",", colon=":"),
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
    llguidance's own: it does not hold for thoughts, nor where a call must be made. Raises
    ToolSchemaError.
    """
    functions = _allowed(tools, choice)
    if form.calls is None or not holds_calls(tools, choice, bool(content)):
        thoughts = _thoughts(form) if content else ""
        return several(_lark(thoughts, "@content"), content=content) if thoughts else content
    layout, thoughts = _LAYOUTS[form.calls], _thoughts(form)
    most = MOST_CALLS if form.parallel_calls and choice.mode != "named" else 1
    if form.calls == "g1" and not choice.forces and not content:
        return _with_calls(thoughts, layout, functions, most)
    rules = [*_rules(layout, most), *_functions(layout, functions)]
    if choice.forces:
        return _lark(thoughts, "LEAD calls", *rules)
    if content:
        return several(_lark(thoughts, "LEAD (calls | @content)", *rules), content=content)
    if layout.begin:
        text = f"head[lazy]: /(.|\\n)*{re.escape(layout.begin)}/", "TEXT: /(.|\\n)*/"
        return _lark(thoughts, f"(head block){'*' if most > 1 else '?'} TEXT", *text, *rules)
    return _lark(thoughts, "LEAD (calls | TEXT)?", r"TEXT: /[^{ \n](.|\n)*/", *rules)


def holds_calls(tools: Sequence[Mapping[str, Any]], choice: ToolChoice, has_content: bool) -> bool:
    """Whether a grammar holds calls to their schemas; with one for content, too."""
    allowed = _allowed(tools, choice).values()
    is_strict = any(each.get("strict") for each in allowed)
    held = choice.forces or has_content or bool(choice.names) or is_strict
    return bool(allowed) and held and choice.mode != "none"


def _allowed(
    tools: Sequence[Mapping[str, Any]], choice: ToolChoice
) -> dict[int, Mapping[str, Any]]:
    """The functions that may be called, by their numbers."""
    functions = {number: tool["function"] for number, tool in enumerate(tools)}
    if not choice.names:
        return functions
    return {n: each for n, each in functions.items() if each["name"] in choice.names}


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


def arguments_schema(function: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a function's arguments, which are an object though it may leave that out."""
    return {"type": "object", **(function.get("parameters") or _NO_PARAMETERS)}


def _functions(layout: _Layout, functions: Mapping[int, Mapping[str, Any]]) -> list[str]:
    rules = [
        f'function_{number}: {_quoted(layout.head(name))} %json {schema} "}}"'
        for number, (name, schema) in enumerate(_held(layout, functions))
    ]
    names = " | ".join(f"function_{number}" for number in range(len(rules)))
    return [f"function: {names}", *rules]


def _with_calls(
    thoughts: str, layout: _Layout, functions: Mapping[int, Mapping[str, Any]], most: int
) -> str:
    """Text that may have calls, and other blocks: a call begins where its function is named."""
    end = _quoted(f"}}{layout.closing}")
    rules = ["TEXT: /(.|\\n)*/"]
    for number, (named, schema) in enumerate(_held(layout, functions)):
        signs = ["{", '"name"', ":", f'"{named}"', ",", f'"{layout.arguments}"', ":"]
        head = _BLANKS.join(re.escape(each) for each in (layout.begin.strip(), *signs))
        rules.append(f"head_{number}[lazy]: /(.|\\n)*{head}{_BLANKS}/")
        rules.append(f"call_{number}: head_{number} %json {schema} {end}")
    calls = " | ".join(f"call_{number}" for number in range(len(functions)))
    count = "*" if most > 1 else "?"
    return _lark(thoughts, f"call{count} TEXT", f"call: {calls}", *rules)


def _held(layout: _Layout, functions: Mapping[int, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """The names of the functions, and their schemas as a grammar has them."""
    size, comparison = 0, Comparison()
    for tool, function in functions.items():
        try:
            schema = held_schema(arguments_schema(function), comparison)
        except GrammarError as error:
            raise ToolSchemaError(tool, str(error)) from None
        if size > MAX_BYTES:
            raise ToolSchemaError(tool, f"with those before it longer than {MAX_BYTES} bytes")
        schema["x-guidance"] = layout.spacing
        text = json.dumps(schema)
        size += len(text)
        yield function["name"], text


def _thoughts(form: AnswerForm) -> str:
    """What comes before the rest of the answer."""
    match form.thinking:
        case "begun":
            return f"thoughts[lazy]: /(.|\\n)*{_END}/"
        case "ends":
            return f"thoughts: /{form.opening.owed}[ \\n]{{0,2}}{_END}/"
        case "over":
            return f"thoughts: {_quoted(form.opening.owed)}" if form.opening.owed else ""
        case "may":
            return f"thoughts: thinking?\nthinking[lazy]: /[ \\n]{{0,2}}{BEGIN}(.|\\n)*{_END}/"


def _lark(thoughts: str, answer: str, *rules: str) -> str:
    before = ("start: thoughts", thoughts) if thoughts else ("start:",)
    return "\n".join(["%llguidance {}", f"{before[0]} {answer}", *before[1:], *rules])


def _quoted(text: str) -> str:
    """A Lark string; nothing for no text."""
    return json.dumps(text) if text else ""
