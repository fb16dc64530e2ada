"""Items that this server does not make: what is kept of them, and what the model sees of them.

Calls of hosted tools and of clients' built-in ones are shown as calls of functions, with their
outputs where there are any. What says nothing to a model is passed over.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from server.api.errors import ApiError
from server.api.responses.custom_input import as_arguments
from server.stores.responses.records import Item

_IMAGE = "[image]"
_ID_SHOWN = 80
_ANSWERS = ("function_call_output", "custom_tool_call_output")


@dataclass(frozen=True)
class _Call:
    """How an item is a call: the function's name, and which of its fields say what."""

    name: str
    arguments: str
    result: str = ""
    """Empty: the output is an item of its own."""


_CALLS = {
    "apply_patch_call": _Call("apply_patch", "operation"),
    "computer_call": _Call("computer", "action"),
    "local_shell_call": _Call("local_shell", "action"),
    "shell_call": _Call("shell", "action"),
    "tool_search_call": _Call("tool_search", "arguments"),
    "code_interpreter_call": _Call("code_interpreter", "code", "outputs"),
    "file_search_call": _Call("file_search", "queries", "results"),
    "image_generation_call": _Call("image_generation", "revised_prompt", "result"),
    "mcp_call": _Call("mcp", "arguments", "output"),
    "web_search_call": _Call("web_search", "action", "results"),
}
_OUTPUTS = {
    "apply_patch_call_output": "output",
    "computer_call_output": "output",
    "local_shell_call_output": "output",
    "shell_call_output": "output",
    "tool_search_output": "tools",
}
_PICTURES = {"image_generation_call": "result", "computer_call_output": "output"}
"""Fields with an image, which are megabytes that no text model can read."""


def check_outputs(before: Sequence[Item], added: Sequence[Item]) -> None:
    """Refuse outputs of calls that neither the response before nor the input has.

    Raises ApiError. After a compaction nobody knows which calls there were.
    """
    said = [*before, *added]
    if any(item["type"] == "compaction" for item in said):
        return
    calls = {item.get("call_id") for item in said if item["type"].endswith("_call")}
    for number, item in enumerate(added):
        if item["type"] in _ANSWERS and item["call_id"] not in calls:
            at = f"input.{number}.call_id"
            message = f"{at}: there is no call {item['call_id'][:_ID_SHOWN]!r} that this answers"
            raise ApiError("invalid_value", message, at)


def kept_fields(kind: str, fields: dict[str, Any]) -> Item:
    """The fields of an item as they are kept, without `type`."""
    kept = {name: value for name, value in fields.items() if value is not None}
    if kind in _PICTURES and _PICTURES[kind] in kept:
        kept[_PICTURES[kind]] = _IMAGE
    if kind in _CALLS or kind in _OUTPUTS:  # the id will be another one
        kept.setdefault("call_id", fields.get("id") or "")
    return kept


def as_plain(item: Item) -> Iterator[Item]:
    """The messages, thoughts, and calls of functions and their outputs that an item stands for."""
    kind = item["type"]
    if kind in ("message", "reasoning", "function_call", "function_call_output"):
        yield item
    elif kind == "custom_tool_call":
        said = {name: item[name] for name in ("name", "namespace") if name in item}
        yield _call(item) | said | {"arguments": as_arguments(item["input"])}
    elif kind == "custom_tool_call_output":
        yield item | {"type": "function_call_output"}
    elif kind in _CALLS:
        yield from _called(item, _CALLS[kind])
    elif kind in _OUTPUTS:
        yield _output(item, item.get(_OUTPUTS[kind]))


def _called(item: Item, call: _Call) -> Iterator[Item]:
    name = str(item.get("name") or call.name)
    if item["type"] == "mcp_call" and item.get("server_label"):
        name = f"{item['server_label']}.{name}"
    yield _call(item) | {"name": name, "arguments": _arguments(call, item.get(call.arguments))}
    if call.result:
        found = item.get(call.result)
        said = item.get("error") if found is None else found
        yield _output(item, item.get("status") if said is None else said)


def _call(item: Item) -> Item:
    return {"type": "function_call", "call_id": str(item.get("call_id", ""))}


def _output(item: Item, said: Any) -> Item:
    text = said if isinstance(said, str) else _json(said)
    return {
        "type": "function_call_output",
        "call_id": str(item.get("call_id", "")),
        "output": text,
    }


def _arguments(call: _Call, value: Any) -> str:
    """JSON of an object."""
    if isinstance(value, dict):
        return _json(value)
    if isinstance(value, str) and value.lstrip().startswith("{"):
        return value
    return _json({} if value is None else {call.arguments: value})


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
