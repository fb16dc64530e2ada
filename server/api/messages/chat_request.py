"""A request of Anthropic's clients as a chat that gives the same answer."""

import json
from collections.abc import Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from server.api.errors import ApiError
from server.api.schemas.chat import ChatCompletionRequest
from server.api.schemas.generation import GenerationRequest
from server.api.schemas.messages import (
    Block,
    DocumentBlock,
    InputMessage,
    MessagesRequest,
    TextBlock,
    Tool,
    ToolChoice,
    ToolResultBlock,
    ToolUseBlock,
)

CALL_PREFIX = "toolu_"
"""Of the ids of calls; templates see them without it, since some have their own form."""

_BREAKPOINT = {"prompt_cache_breakpoint": {"mode": "explicit"}}
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}

Message = dict[str, Any]


def as_chat(body: MessagesRequest) -> ChatCompletionRequest:
    """The chat request. Raises RequestValidationError for what only chat finds wrong."""
    shared = body.model_fields_set & GenerationRequest.model_fields.keys()
    fields = {name: getattr(body, name) for name in shared}
    fields |= {
        "messages": _messages(body),
        "stop": [*body.stop, *body.stop_sequences],
        "tools": [_tool(tool, number) for number, tool in enumerate(body.tools)],
        "reasoning_effort": body.output_config.effort,
    }
    if body.tool_choice is not None:
        fields["tool_choice"] = _choice(body.tool_choice)
        fields["parallel_tool_calls"] = not body.tool_choice.disable_parallel_tool_use
    if body.thinking is not None and body.thinking.type != "adaptive":
        fields["enable_thinking"] = body.thinking.type == "enabled"
    if wanted := body.output_config.format or body.output_format:
        named = {"name": "output", "schema": wanted.content}
        fields["response_format"] = {"type": "json_schema", "json_schema": named}
    if body.messages[-1].role == "assistant":
        fields |= {"continue_final_message": True, "add_generation_prompt": False}
    try:
        return ChatCompletionRequest.model_validate(fields)
    except ValidationError as error:
        found = [{**each, "loc": ("body", *each["loc"])} for each in error.errors()]
        raise RequestValidationError(found) from None


def _messages(body: MessagesRequest) -> list[Message]:
    messages: list[Message] = []
    if body.system:
        messages.append({"role": "system", "content": _parts(body.system)})
    for message in body.messages:
        messages += _said(message)
    return messages


def _said(message: InputMessage) -> list[Message]:
    """A message as chat has it: results of tools are messages of their own."""
    if message.role == "assistant":
        return [_by_assistant(message.content)]
    messages: list[Message] = []
    for block in message.content:
        if isinstance(block, ToolResultBlock):
            messages.append(_result(block))
        elif part := _part(block):
            if not messages or messages[-1]["role"] != message.role:
                messages.append({"role": message.role, "content": []})
            messages[-1]["content"].append(part)
    return messages


def _by_assistant(blocks: list[Block]) -> Message:
    thoughts = [block.thinking for block in blocks if block.type == "thinking"]
    calls = [_call(block) for block in blocks if isinstance(block, ToolUseBlock)]
    message: Message = {"role": "assistant", "content": _parts(blocks) or None}
    if thoughts:
        message["reasoning_content"] = "\n".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return message


def _parts(blocks: Sequence[Block]) -> list[dict[str, Any]]:
    return [part for block in blocks if (part := _part(block))]


def _part(block: Block) -> dict[str, Any] | None:
    """The text of a block, if it has any for everybody to read."""
    if isinstance(block, TextBlock):
        text = block.text
    elif isinstance(block, DocumentBlock):
        text = "\n".join(each for each in (block.title, block.context, block.source.data) if each)
    else:
        return None
    part = {"type": "text", "text": text}
    return part | _BREAKPOINT if block.cache_control else part


def _result(block: ToolResultBlock) -> Message:
    content = _parts(block.content)
    if block.is_error:
        content = [{"type": "text", "text": "Error:"}, *content]
    return {"role": "tool", "tool_call_id": _own_id(block.tool_use_id), "content": content}


def _call(block: ToolUseBlock) -> dict[str, Any]:
    arguments = json.dumps(block.input, ensure_ascii=False)
    function = {"name": block.name, "arguments": arguments}
    return {"id": _own_id(block.id), "type": "function", "function": function}


def _own_id(ident: str) -> str:
    return ident.removeprefix(CALL_PREFIX)


def _tool(tool: Tool, number: int) -> dict[str, Any]:
    if tool.type != "custom":
        param = f"tools[{number}].type"
        message = f"{param}: only tools of the type custom are supported: the client runs them"
        raise ApiError("unsupported_parameter", message, param)
    function: dict[str, Any] = {"name": tool.name, "strict": tool.strict}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.input_schema is not None:
        function["parameters"] = tool.input_schema
    return {"type": "function", "function": function}


def _choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.type == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    return _CHOICES[choice.type]
