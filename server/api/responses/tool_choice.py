"""`tool_choice` of a request for a response, in chat's words."""

from collections.abc import Iterator
from typing import Any

from server.api.errors import ApiError
from server.api.responses.tools import CALLABLE, OfferedTools, printable_kind


def chat_choice(choice: Any, tools: OfferedTools) -> Any:
    """`tool_choice` as chat has it. Raises ApiError for a tool that is not there."""
    if choice == "required" and not tools.functions and tools.ignored:
        raise _not_there("tool_choice", tools.ignored[0])
    if not isinstance(choice, dict):
        return choice
    kind = choice.get("type")
    if kind in CALLABLE:
        return _named(choice, tools)
    if kind == "allowed_tools":
        return _allowed(choice, tools)
    if isinstance(kind, str) and kind:
        raise _not_there("tool_choice.type", kind)
    return choice


def _allowed(choice: dict[str, Any], tools: OfferedTools) -> Any:
    wanted = choice.get("tools")
    if isinstance(wanted, list):
        kept = [each for each in wanted if not _is_hosted(each)]
        if wanted and not kept:
            raise _not_there("tool_choice.tools", str(wanted[0].get("type")))
        wanted = [each for one in kept for each in _expanded(one, tools)]
    allowed = {"mode": choice.get("mode"), "tools": wanted}
    return {"type": "allowed_tools", "allowed_tools": allowed}


def _expanded(tool: Any, tools: OfferedTools) -> Iterator[Any]:
    """A namespace stands for all that is in it."""
    if isinstance(tool, dict) and tool.get("type") == "namespace":
        start = f"{tool.get('name')}."
        for each in tools.functions:
            name = each["function"]["name"]
            if isinstance(name, str) and name.startswith(start):
                yield {"type": "function", "function": {"name": name}}
    elif isinstance(tool, dict) and tool.get("type") in CALLABLE:
        yield _named(tool, tools)
    else:
        yield tool


def _named(tool: dict[str, Any], tools: OfferedTools) -> dict[str, Any]:
    name, namespace = tool.get("name"), tool.get("namespace")
    if isinstance(name, str) and isinstance(namespace, str):
        name = tools.chat_name(name, namespace)
    elif isinstance(name, str):
        callee = tools.callee(name)
        name = tools.chat_name(callee.name, callee.namespace)
    return {"type": "function", "function": {"name": name}}


def _is_hosted(tool: Any) -> bool:
    kind = tool.get("type") if isinstance(tool, dict) else None
    return isinstance(kind, str) and kind not in (*CALLABLE, "namespace")


def _not_there(param: str, kind: str) -> ApiError:
    message = (
        f"{param}: must not force a tool of the type {printable_kind(kind)}, which this server "
        "does not have; name a function or custom tool, or leave the choice to the model (auto)"
    )
    return ApiError("unsupported_parameter", message, param)
