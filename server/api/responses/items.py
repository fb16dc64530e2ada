"""Items: from what clients send to what is kept, and from that to messages for the template.

All that the model reads is made of kept items, so a conversation that is stored and one that a
client sends again and again are the same prompt.
"""

import secrets
from collections.abc import Iterable, Sequence
from typing import Any

from server.api.schemas.items import (
    FunctionCallItem,
    FunctionCallOutputItem,
    InputItem,
    ItemReference,
    MessageItem,
    Part,
    ReasoningItem,
    Refusal,
)
from server.conversations.records import Item

_PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "reasoning": "rs",
}


def new_id(kind: str) -> str:
    """An id for an item of a type."""
    return f"{_PREFIXES[kind]}_{secrets.token_hex(24)}"


def references(items: Iterable[InputItem]) -> list[str]:
    """The ids of items that the server should know."""
    return [item.id for item in items if isinstance(item, ItemReference)]


def as_kept(items: Iterable[InputItem], known: dict[str, Item]) -> list[Item]:
    """Items as they are kept, each with an id of its own; `known` has those that are referred to.

    The ids that a client gives are not kept: they may be there already.
    """
    kept = []
    for item in items:
        body = known[item.id] if isinstance(item, ItemReference) else _body(item)
        kept.append(body | {"id": new_id(body["type"])})
    return kept


def _body(item: MessageItem | FunctionCallItem | FunctionCallOutputItem | ReasoningItem) -> Item:
    body: Item = {"id": "", "type": item.type, "status": "completed"}
    match item:
        case MessageItem():
            is_output = item.role == "assistant"
            phase = {"phase": item.phase} if item.phase else {}
            content = [_part(part, is_output) for part in item.content]
            return body | {"role": item.role, "content": content} | phase
        case FunctionCallItem():
            return body | item.model_dump(include={"call_id", "name", "arguments"})
        case FunctionCallOutputItem():
            return body | {"call_id": item.call_id, "output": _output(item.output)}
        case ReasoningItem():
            return body | item.model_dump(include={"summary", "content"})


def _part(part: Part, is_output: bool) -> dict[str, Any]:
    if isinstance(part, Refusal):
        return part.model_dump()
    if is_output:
        return {"type": "output_text", "text": part.text, "annotations": [], "logprobs": []}
    marked = part.model_dump(include={"prompt_cache_breakpoint"}, exclude_none=True)
    return {"type": "input_text", "text": part.text} | marked


def _output(parts: Sequence[Part]) -> str | list[dict[str, Any]]:
    """A string again, if it was one."""
    kept = [_part(part, is_output=False) for part in parts]
    return kept[0]["text"] if len(parts) == 1 and parts[0].type == "text" else kept


def as_messages(instructions: str | None, items: Iterable[Item]) -> list[dict[str, Any]]:
    """Messages of /v1/chat/completions.

    Thoughts, words and calls of tools that follow one another are one message of the assistant, as
    they were generated; two texts in a row are two.
    """
    messages: list[dict[str, Any]] = []
    if instructions:
        messages.append({"role": "system", "content": instructions})
    turn: dict[str, Any] | None = None  # of the assistant, which may still go on
    for item in items:
        kind = item["type"]
        is_own = kind in ("reasoning", "function_call") or item.get("role") == "assistant"
        goes_on = turn is not None and _goes_on(turn, kind)
        if is_own and not goes_on:
            turn = {"role": "assistant", "content": None}
            messages.append(turn)
        if turn is not None and is_own:
            _add(turn, item)
            continue
        turn = None
        if kind == "function_call_output":
            content = _texts(item["output"])
            messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": content})
        else:
            messages.append({"role": item["role"], "content": _texts(item["content"])})
    return messages


def _goes_on(turn: dict[str, Any], kind: str) -> bool:
    """Whether an assistant's message can have an item of this type too."""
    if kind == "function_call":
        return True
    if kind == "message":
        return turn["content"] is None and "tool_calls" not in turn
    return False


def _add(turn: dict[str, Any], item: Item) -> None:
    if item["type"] == "reasoning":
        parts = item["content"] or item["summary"]
        turn["reasoning_content"] = "\n".join(part["text"] for part in parts)
    elif item["type"] == "function_call":
        function = {"name": item["name"], "arguments": item["arguments"]}
        call = {"id": item["call_id"], "type": "function", "function": function}
        turn.setdefault("tool_calls", []).append(call)
    else:
        turn["content"] = _texts(item["content"])


def _texts(content: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """A content of a chat message; breakpoints of the cache stay where they are."""
    if isinstance(content, str):
        return content
    parts = []
    for part in content:
        marked = {name: part[name] for name in ("prompt_cache_breakpoint",) if name in part}
        text = part["refusal"] if part["type"] == "refusal" else part["text"]
        parts.append({"type": "text", "text": text} | marked)
    return parts
