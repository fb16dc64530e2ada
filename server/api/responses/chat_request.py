"""A response as a chat: the request that gives the same answer at /v1/chat/completions.

What chat learns, responses learn by passing it on here.
"""

from typing import Any

from pydantic import ValidationError

from server.api.errors import invalid_request
from server.api.schemas.chat import ChatCompletionRequest
from server.api.schemas.generation import GenerationRequest
from server.api.schemas.responses import ResponseRequest, TextFormat

_NAMES = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "response_format.json_schema.schema": "text.format.schema",
}
"""What a field of chat is called here."""


def as_chat(body: ResponseRequest, messages: list[dict[str, Any]]) -> ChatCompletionRequest:
    """The chat request. Raises RequestValidationError for what only chat finds wrong."""
    shared = body.model_fields_set & GenerationRequest.model_fields.keys()
    fields = {name: getattr(body, name) for name in shared}
    fields |= {"messages": messages, "max_completion_tokens": body.max_output_tokens}
    fields |= {
        "tools": [_tool(tool) for tool in body.tools],
        "tool_choice": _choice(body.tool_choice),
        "parallel_tool_calls": body.parallel_tool_calls,
        "reasoning_effort": body.reasoning.effort,
    }
    if body.wants_logprobs:
        fields |= {"logprobs": True, "top_logprobs": body.top_logprobs}
    if body.text.format.type != "text":
        fields["response_format"] = _response_format(body.text.format)
    try:
        return ChatCompletionRequest.model_validate(fields)
    except ValidationError as error:
        raise invalid_request(error, in_our_words) from None


def in_our_words(name: str) -> str:
    """What a field of chat is called here."""
    if name.startswith(("tools[", "tool_choice")):
        return name.replace(".function", "").replace(".allowed_tools", "")
    return _NAMES.get(name, name)


def _response_format(wanted: TextFormat) -> dict[str, Any]:
    if wanted.type == "json_object":
        return {"type": wanted.type}
    return {"type": wanted.type, "json_schema": {"name": wanted.name, "schema": wanted.content}}


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    """A function of responses, which has its fields beside its type."""
    if tool.get("type") != "function":
        return tool
    return {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}}


def _choice(choice: Any) -> Any:
    if not isinstance(choice, dict):
        return choice
    if choice.get("type") == "function":
        return {"type": "function", "function": {"name": choice.get("name")}}
    if choice.get("type") == "allowed_tools":
        tools = choice.get("tools")
        of_chat = [_choice(tool) for tool in tools] if isinstance(tools, list) else tools
        allowed = {"mode": choice.get("mode"), "tools": of_chat}
        return {"type": "allowed_tools", "allowed_tools": allowed}
    return choice
