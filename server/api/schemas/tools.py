"""The tools of a request, and which of them the model may or must call."""

import json
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, LiteralString, NotRequired

from pydantic import PlainValidator
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from server.api.schemas.validation import invalid
from server.assistant.forced_calls import ToolChoice

MOST_TOOLS = 128
MOST_CHARACTERS = 1 << 20
"""Of the JSON of all tools."""
MOST_LEVELS = 64
"""Of nesting in what a request gives a template."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64})?")
"""With a dot, those of a namespace (server/api/responses/tools.py)."""


class FunctionFields(TypedDict):
    """A function as the model is shown it."""

    name: str
    description: NotRequired[str]
    parameters: NotRequired[dict[str, Any]]
    strict: NotRequired[bool]


class ToolFields(TypedDict):
    """The one kind of tool."""

    type: Literal["function"]
    function: FunctionFields


def _check_tools(value: Any) -> list[dict[str, Any]]:
    """The tools as they were given, since templates get all that is in them."""
    if not isinstance(value, list):
        raise invalid("should be a list of tools", "tools")
    if len(value) > MOST_TOOLS:
        raise invalid("should be at most 128 tools", "tools")
    for number, tool in enumerate(value):
        _check_tool(tool, f"tools[{number}]")
    names = [tool["function"]["name"] for tool in value]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise invalid("is the name of another tool, too", f"tools[{number}].function.name")
    if check_json(value, "tools") > MOST_CHARACTERS:
        raise invalid("should be at most 1 MiB of JSON", "tools")
    return value


def check_json(value: Any, param: str) -> int:
    """The length of a value as JSON; refuses what cannot be shown to a model, by a field's name."""
    level = [value]
    for _ in range(MOST_LEVELS):
        level = [child for each in level for child in _children(each)]
    if level:
        raise invalid("should be nested at most 64 levels deep", param)
    try:
        return len(json.dumps(value, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        raise invalid("should be valid Unicode, without lone surrogates", param) from None


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _check_tool(tool: Any, at: str) -> None:
    if not isinstance(tool, dict):
        raise invalid("should be an object", at)
    if tool.get("type") != "function":
        raise _unsupported("is not supported: only tools of the type function are", f"{at}.type")
    function = tool.get("function")
    if not isinstance(function, dict):
        raise invalid("should be an object", f"{at}.function")
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise invalid("should be 1 to 64 letters, digits, _ or -", f"{at}.function.name")
    if not isinstance(function.get("description"), str | None):
        raise invalid("should be a string", f"{at}.function.description")
    if not isinstance(function.get("strict"), bool | None):
        raise invalid("should be true or false", f"{at}.function.strict")
    parameters = function.get("parameters")
    if parameters is None:
        return
    if not isinstance(parameters, dict) or parameters.get("type", "object") != "object":
        raise invalid("should be the schema of an object", f"{at}.function.parameters")


def _check_choice(value: Any) -> ToolChoice:
    if value == "none" or value == "auto" or value == "required":
        return ToolChoice(value)
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "function":
        return ToolChoice("named", (_name_of(value, "tool_choice"),))
    if kind == "allowed_tools":
        return _allowed(value.get("allowed_tools"))
    if kind == "custom":
        raise _unsupported("is not supported: only functions are", "tool_choice.type")
    raise invalid(
        'should be "none", "auto", "required", or an object of the type function or allowed_tools',
        "tool_choice",
    )


def _allowed(allowed: Any) -> ToolChoice:
    at = "tool_choice.allowed_tools"
    if not isinstance(allowed, dict) or allowed.get("mode") not in ("auto", "required"):
        raise invalid("should have the mode auto or required", at)
    tools = allowed.get("tools")
    if not isinstance(tools, list) or not 0 < len(tools) <= MOST_TOOLS:
        raise invalid("should be a list of 1 to 128 tools", f"{at}.tools")
    names = [_name_of(tool, f"{at}.tools[{number}]") for number, tool in enumerate(tools)]
    return ToolChoice(allowed["mode"], tuple(names))


def _name_of(tool: Any, at: str) -> str:
    function = tool.get("function") if isinstance(tool, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        raise invalid("should be a string", f"{at}.function.name")
    return name


def _unsupported(message: LiteralString, param: str) -> PydanticCustomError:
    return PydanticCustomError("unsupported_parameter", message, {"param": param})


Tools = Annotated[
    list[dict[str, Any]], PlainValidator(_check_tools, json_schema_input_type=list[ToolFields])
]
Choice = Annotated[
    ToolChoice,
    PlainValidator(
        _check_choice,
        json_schema_input_type=Literal["none", "auto", "required"] | dict[str, Any],
    ),
]
