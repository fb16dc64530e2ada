"""A request for a message as a chat: the request that gives the same answer there."""

from typing import Any

from pydantic import ValidationError

from server.api.errors import invalid_request
from server.api.schemas.chat import ChatCompletionRequest
from server.api.schemas.generation import GenerationRequest
from server.api.schemas.messages import (
    CountTokensRequest,
    DocumentBlock,
    InputMessage,
    TextBlock,
    ThinkingBlock,
    Tool,
    ToolChoice,
    ToolResultBlock,
    ToolUseBlock,
)
from server.assistant.arguments import arguments_text

CALL_PREFIX = "toolu_"
"""Of the ids of calls here; chat templates get them without."""

_NAMES = (
    ("continue_final_message", "messages"),
    ("response_format.json_schema.schema", "output_config.format.schema"),
    ("response_format", "output_config.format"),
    ("function.parameters", "input_schema"),
    ("function.", ""),
)
"""What a field of chat is called here."""

_CHANGING = "x-anthropic-billing-header:"
"""Begins a block that Claude Code puts before all others, and that is another one for each prompt:
with it nothing that follows would be found in the cache. It is not meant for the model."""

_MODES = {"auto": "auto", "any": "required", "none": "none"}

Fields = dict[str, Any]


def as_chat(body: CountTokensRequest) -> ChatCompletionRequest:
    """The chat request. Raises RequestValidationError for what only chat finds wrong."""
    shared = body.model_fields_set & GenerationRequest.model_fields.keys() - {"stream_options"}
    fields: Fields = {name: getattr(body, name) for name in shared}
    fields["messages"] = _system(body) + [each for m in body.messages for each in _messages(m)]
    fields["continue_final_message"] = body.messages[-1].role == "assistant"
    if body.stop_sequences:
        fields["stop"] = body.stop_sequences
    if body.tools:
        fields["tools"] = [_tool(tool) for tool in body.tools]
    fields |= _choice(body.tool_choice) | _thinking(body) | _format(body)
    try:
        return ChatCompletionRequest.model_validate(fields)
    except ValidationError as error:
        raise invalid_request(error, in_our_words) from None


def in_our_words(name: str) -> str:
    """What a field of chat is called here."""
    if name == "stop" or name.startswith("stop."):
        return f"stop_sequences{name[4:]}"
    for theirs, ours in _NAMES:
        name = name.replace(theirs, ours)
    return name


def _system(body: CountTokensRequest) -> list[Fields]:
    parts = [_part(block) for block in body.system or () if not block.text.startswith(_CHANGING)]
    return [{"role": "system", "content": parts}] if parts else []


def _messages(message: InputMessage) -> list[Fields]:
    """One message of chat, or several where a user's has results of tools."""
    if message.role == "assistant":
        return [_assistant(message)]
    made: list[Fields] = []
    for block in message.content:
        if isinstance(block, ToolResultBlock):
            made.append(_result(block))
        elif isinstance(block, TextBlock | DocumentBlock):
            if not made or made[-1]["role"] != message.role:
                made.append({"role": message.role, "content": []})
            made[-1]["content"].append(_part(block))
    return made or [{"role": message.role, "content": ""}]


def _part(block: TextBlock | DocumentBlock, text: str | None = None) -> Fields:
    part: Fields = {"type": "text", "text": block.text if text is None else text}
    if block.cache_control is not None:
        part["prompt_cache_breakpoint"] = {"mode": "explicit"}
    return part


def _result(block: ToolResultBlock) -> Fields:
    parts = [_part(each) for each in block.content]
    if block.is_error:  # templates have no other place for it
        parts = [{"type": "text", "text": "Error:"}, *parts]
    if block.cache_control is not None and parts:
        parts[-1]["prompt_cache_breakpoint"] = {"mode": "explicit"}
    return {"role": "tool", "tool_call_id": _call_id(block.tool_use_id), "content": parts}


def _assistant(message: InputMessage) -> Fields:
    """Its text as one: the blocks of an answer are cut where calls and thoughts are."""
    blocks = message.content
    texts = [block for block in blocks if isinstance(block, TextBlock)]
    fields: Fields = {"role": "assistant", "content": "".join(block.text for block in texts)}
    if any(block.cache_control for block in texts):
        part = {"type": "text", "text": fields["content"]}
        fields["content"] = [part | {"prompt_cache_breakpoint": {"mode": "explicit"}}]
    if thoughts := "".join(b.thinking for b in blocks if isinstance(b, ThinkingBlock)):
        fields["reasoning_content"] = thoughts
    if calls := [_call(block) for block in blocks if isinstance(block, ToolUseBlock)]:
        fields["tool_calls"] = calls
    return fields


def _call(block: ToolUseBlock) -> Fields:
    function = {"name": block.name, "arguments": arguments_text(block.input)}
    return {"id": _call_id(block.id), "type": "function", "function": function}


def _call_id(ident: str) -> str:
    return ident.removeprefix(CALL_PREFIX)


def _tool(tool: Tool) -> Fields:
    function: Fields = {"name": tool.name, "parameters": tool.input_schema}
    given = {"description": tool.description, "strict": tool.strict}
    function |= {name: value for name, value in given.items() if value is not None}
    return {"type": "function", "function": function}


def _choice(choice: ToolChoice | None) -> Fields:
    if choice is None:
        return {}
    named = {"type": "function", "function": {"name": choice.name}}
    mode: Any = named if choice.type == "tool" else _MODES[choice.type]
    return {"tool_choice": mode, "parallel_tool_calls": not choice.disable_parallel_tool_use}


def _thinking(body: CountTokensRequest) -> Fields:
    if body.thinking is None:  # an effort alone must not switch thinking on
        return {}
    fields: Fields = {"enable_thinking": body.thinking.type != "disabled"}
    if body.output_config.effort is not None:
        fields["reasoning_effort"] = body.output_config.effort
    return fields


def _format(body: CountTokensRequest) -> Fields:
    wanted = body.output_config.format or body.output_format
    if wanted is None:
        return {}
    schema = {"name": "output", "schema": wanted.content}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}
