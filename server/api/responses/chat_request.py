"""A response as a chat: the request that gives the same answer at /v1/chat/completions.

What chat learns, responses learn by passing it on here.
"""

from typing import Any

from pydantic import ValidationError

from server.api.errors import ApiError, invalid_request
from server.api.responses.compaction import Resumption
from server.api.responses.items import as_messages
from server.api.responses.tool_choice import chat_choice
from server.api.responses.tools import OfferedTools
from server.api.schemas.chat import ChatCompletionRequest
from server.api.schemas.compaction import CompactRequest
from server.api.schemas.generation import GenerationRequest
from server.api.schemas.prompt import PromptRequest
from server.api.schemas.responses import ResponseRequest, TextFormat
from server.api.schemas.states import StateRequest
from server.stores.responses.records import Item

_NAMES = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "response_format.json_schema.schema": "text.format.schema",
}
"""What a field of chat is called here."""


def as_chat(
    body: ResponseRequest,
    messages: list[dict[str, Any]],
    tools: OfferedTools,
    state_id: str = "",
) -> ChatCompletionRequest:
    """The chat request, perhaps after a state.

    Raises ApiError, and RequestValidationError for what only chat finds wrong.
    """
    shared = body.model_fields_set & GenerationRequest.model_fields.keys() - {"stream_options"}
    fields = {name: getattr(body, name) for name in shared}
    fields |= {"messages": messages, "max_completion_tokens": body.max_output_tokens}
    fields |= {"state_id": state_id}
    fields |= {
        "tools": tools.functions,
        "tool_choice": chat_choice(body.tool_choice, tools),
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
        raise invalid_request(error, lambda name: in_our_words(name, tools)) from None


def as_state(
    body: CompactRequest,
    items: list[Item],
    tools: OfferedTools,
    resumed: Resumption | None,
) -> StateRequest:
    """The request for a state that has read the items. Raises like as_chat()."""
    instructions = body.instructions
    if resumed is not None:
        items, instructions = resumed.items, resumed.shown_instructions
    messages = as_messages(instructions, items)
    if not messages:
        message = "input: must have items to be compacted, or previous_response_id"
        raise ApiError("missing_required_parameter", message, "input")
    shared = body.model_fields_set & PromptRequest.model_fields.keys()
    fields = {name: getattr(body, name) for name in shared}
    fields |= {"messages": messages, "tools": tools.functions}
    fields |= {"state_id": resumed.state_id if resumed else ""}
    try:
        return StateRequest.model_validate(fields)
    except ValidationError as error:
        raise invalid_request(error, lambda name: in_our_words(name, tools)) from None


def in_our_words(name: str, tools: OfferedTools) -> str:
    """What a field of chat is called here."""
    if name.startswith(("tools[", "tool_choice")):
        return tools.place(name.replace(".function", "").replace(".allowed_tools", ""))
    return _NAMES.get(name, name)


def _response_format(wanted: TextFormat) -> dict[str, Any]:
    if wanted.type == "json_object":
        return {"type": wanted.type}
    return {"type": wanted.type, "json_schema": {"name": wanted.name, "schema": wanted.content}}
