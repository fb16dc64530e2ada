"""Items: from what clients send to what is kept, and from that to messages for the template.

All that the model reads is made of kept items, so a conversation that is stored and one that a
client sends again and again are the same prompt.
"""

import secrets
from collections.abc import Iterable, Sequence
from typing import Any

from server.api.errors import ApiError
from server.api.responses.other_items import as_plain, kept_fields
from server.api.schemas.items import (
    Attachment,
    CustomToolCallItem,
    CustomToolCallOutputItem,
    FunctionCallItem,
    FunctionCallOutputItem,
    InputItem,
    ItemReference,
    MessageItem,
    OtherItem,
    Part,
    ReasoningItem,
    Refusal,
)
from server.stores.responses.records import Item

_PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "tool_search_call": "tsc",
    "compaction": "cmp",
    "reasoning": "rs",
}
_SHOWN_AS = {"input_image": "[image]", "input_file": "[file]", "input_audio": "[audio]"}


def new_id(kind: str) -> str:
    """An id for an item of a type."""
    return f"{_PREFIXES.get(kind, 'item')}_{secrets.token_hex(24)}"


def check_attachments(items: Sequence[InputItem], param: str, only_last: bool = True) -> None:
    """Refuse images and files that somebody wants to be looked at: those of the last message.

    In earlier ones, and in outputs of tools, a text stands for them: a client cannot take them out
    of its history. Raises ApiError.
    """
    for number in range(len(items) - 1, -1, -1):
        item = items[number]
        if not isinstance(item, MessageItem):
            continue
        for place, part in enumerate(item.content):
            if isinstance(part, Attachment):
                at = f"{param}.{number}.content.{place}"
                message = f"{at}: only text parts are supported (got {part.type}); send text"
                raise ApiError("unsupported_content", message, at)
        if only_last:
            return


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


def _body(
    item: MessageItem
    | FunctionCallItem
    | FunctionCallOutputItem
    | CustomToolCallItem
    | CustomToolCallOutputItem
    | ReasoningItem
    | OtherItem,
) -> Item:
    body: Item = {"id": "", "type": item.type, "status": "completed"}
    match item:
        case MessageItem():
            is_output = item.role == "assistant"
            phase = {"phase": item.phase} if item.phase else {}
            content = [_part(part, is_output) for part in item.content]
            return body | {"role": item.role, "content": content} | phase
        case FunctionCallItem():
            said = item.model_dump(include={"call_id", "name", "arguments"})
            return body | said | _namespace(item)
        case CustomToolCallItem():
            return body | item.model_dump(include={"call_id", "name", "input"}) | _namespace(item)
        case FunctionCallOutputItem() | CustomToolCallOutputItem():
            return body | {"call_id": item.call_id, "output": _output(item.output)}
        case ReasoningItem():
            return body | item.model_dump(include={"summary", "content"})
        case OtherItem():
            return body | kept_fields(item.type, item.model_extra or {})


def _namespace(item: FunctionCallItem | CustomToolCallItem) -> dict[str, str]:
    return {"namespace": item.namespace} if item.namespace else {}


def _part(part: Part, is_output: bool) -> dict[str, Any]:
    if isinstance(part, Refusal):
        return part.model_dump()
    if isinstance(part, Attachment):
        named = {"filename": part.filename} if part.filename else {}
        return {"type": part.type} | named
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
    for item in (each for every in items for each in as_plain(every)):
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
        name = f"{item['namespace']}.{item['name']}" if "namespace" in item else item["name"]
        function = {"name": name, "arguments": item["arguments"]}
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
        parts.append({"type": "text", "text": _text(part)} | marked)
    return parts


def _text(part: dict[str, Any]) -> str:
    kind = part["type"]
    if kind in _SHOWN_AS:
        name = part.get("filename")
        return f"[file {name}]" if name else _SHOWN_AS[kind]
    text: str = part["refusal"] if kind == "refusal" else part["text"]
    return text
