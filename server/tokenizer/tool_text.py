"""Tools, calls and results as text, for chat templates that have no place for them.

Two forms: that of RWKV's G1 models, in which their own tools are, and that of Hermes and Qwen.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

TextForm = Literal["g1", "hermes"]

BEGIN_CALL, END_CALL = "<tool_call>", "</tool_call>"
FENCE = "```"
RESULT = "Function output:"

# No blank lines: in RWKV's own format they end a turn.
_HERMES_TOOLS = """\
# Tools
You may call one or more functions to assist with the user query.
You are provided with function signatures within <tools></tools> XML tags:
<tools>
{signatures}
</tools>
For each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""
_G1_TOOLS = "Tools:\n{tools}\nReturn only a JSON function call."

_SHOWN = ("name", "description", "parameters")
_SAYS_NOTHING = {"$schema", "title"}
"""Of a schema: what a model need not read."""
_PLAIN = {"type", "properties", "required", "additionalProperties"} | _SAYS_NOTHING
_SCALARS = ("string", "integer", "number", "boolean")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_STRING_OR_BLANKS = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[ \t\r\n]+', re.DOTALL)
_BREAKS = {"\n": "\\n", "\r": "\\r"}


@dataclass(frozen=True)
class ToolText:
    """How one form writes them."""

    tools: Callable[[Sequence[Mapping[str, Any]]], str]
    """What tells a model which tools there are, and how it calls them."""
    call: Callable[[str, str], str]
    """A call with its name and the JSON of its arguments, as the model writes it."""
    result: Callable[[str], str]
    """What a call has given."""
    shares_turn: bool
    """Whether results that follow each other are one turn of the user."""


def _hermes_tools(tools: Sequence[Mapping[str, Any]]) -> str:
    signatures = []
    for tool in tools:
        function = {key: tool["function"][key] for key in _SHOWN if key in tool["function"]}
        signatures.append(
            json.dumps({"type": "function", "function": function}, ensure_ascii=False)
        )
    return _HERMES_TOOLS.format(signatures="\n".join(signatures))


def _hermes_call(name: str, arguments: str) -> str:
    named = json.dumps(name, ensure_ascii=False)
    return f'{BEGIN_CALL}\n{{"name": {named}, "arguments": {arguments}}}\n{END_CALL}'


def _hermes_result(content: str) -> str:
    return f"<tool_response>\n{content}\n</tool_response>"


def _g1_tools(tools: Sequence[Mapping[str, Any]]) -> str:
    """A line for each where that says all there is of it, else a JSON list."""
    functions = [tool["function"] for tool in tools]
    lines = [_signature(function) for function in functions]
    text = "\n".join(f"- {line}" for line in lines if line is not None)
    return _G1_TOOLS.format(tools=_listed(functions) if None in lines else text)


def _g1_call(name: str, arguments: str) -> str:
    return f'{FENCE}json\n{{"name":{_compact(name)},"arguments":{_tight(arguments)}}}\n{FENCE}'


def _g1_result(content: str) -> str:
    return f"{RESULT}\n{content}"


TOOL_TEXT: dict[TextForm, ToolText] = {
    "g1": ToolText(_g1_tools, _g1_call, _g1_result, shares_turn=False),
    "hermes": ToolText(_hermes_tools, _hermes_call, _hermes_result, shares_turn=True),
}


def _signature(function: Mapping[str, Any]) -> str | None:
    """`name(first: string, other?: "a" | "b")`; None if there is more to be said."""
    parameters = function.get("parameters") or {}
    if function.get("description") or not _is_plain(parameters):
        return None
    required = parameters.get("required") or ()
    arguments = []
    for name, schema in (parameters.get("properties") or {}).items():
        kind = _kind(schema)
        if kind is None or not _WORD.fullmatch(name):
            return None
        arguments.append(f"{name}{'' if name in required else '?'}: {kind}")
    return f"{function['name']}({', '.join(arguments)})"


def _kind(schema: Any) -> str | None:
    """The type of an argument in a signature; None if that cannot say it."""
    if not isinstance(schema, Mapping):
        return None
    said = {key: value for key, value in schema.items() if key not in _SAYS_NOTHING}
    kind, values = said.pop("type", "string"), said.pop("enum", None)
    if said or kind not in _SCALARS:
        return None
    if values is None:
        return str(kind) if "type" in schema else None
    if kind != "string" or not isinstance(values, list) or not values:
        return None
    if not all(isinstance(value, str) for value in values):
        return None
    return " | ".join(map(_compact, values))


def _listed(functions: Sequence[Mapping[str, Any]]) -> str:
    """Name, description and arguments, all that their schemas say of them."""
    whole = not all(_needs_all(function.get("parameters") or {}) for function in functions)
    shown = []
    for function in functions:
        parameters = function.get("parameters") or {}
        arguments = parameters if whole else parameters.get("properties") or {}
        said = {"description": function["description"]} if function.get("description") else {}
        shown.append({"name": function["name"], **said, "arguments": arguments})
    return _compact(shown)


def _is_plain(parameters: Mapping[str, Any]) -> bool:
    """Whether a schema says nothing but which arguments there are, and which are needed."""
    properties, required = parameters.get("properties") or {}, parameters.get("required") or []
    known = isinstance(properties, Mapping) and isinstance(required, list)
    closed = isinstance(parameters.get("additionalProperties", False), bool)
    return known and closed and parameters.keys() <= _PLAIN


def _needs_all(parameters: Mapping[str, Any]) -> bool:
    """Whether the properties alone are all that is to be said."""
    if not _is_plain(parameters):
        return False
    properties = parameters.get("properties") or {}
    return all(name in parameters.get("required", properties) for name in properties)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _tight(text: str) -> str:
    """JSON without blanks between its tokens, or what a model wrote instead of it, in one line."""
    return _STRING_OR_BLANKS.sub(_tight_part, text) or "{}"


def _tight_part(found: re.Match[str]) -> str:
    if not found[0].startswith('"'):
        return ""
    return "".join(_BREAKS.get(each, each) for each in found[0])
