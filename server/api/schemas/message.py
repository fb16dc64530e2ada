"""/v1/messages: Anthropic's form of answers and errors."""

from typing import Any, Literal

from pydantic import BaseModel


class MessageUsage(BaseModel):
    """Tokens; those of the prompt are the sum of the first three."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int


class MessageResponse(BaseModel):
    """The assistant's message."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[dict[str, Any]]
    """Blocks: thinking, text, tool_use."""
    stop_reason: Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"] | None
    stop_sequence: str | None
    usage: MessageUsage


class TokenCountResponse(BaseModel):
    """How many tokens the model would read."""

    input_tokens: int


class AnthropicError(BaseModel):
    """Type and message, and what OpenAI's errors have besides."""

    type: str
    message: str
    param: str | None
    code: str


class AnthropicErrorResponse(BaseModel):
    """The envelope around it."""

    type: Literal["error"]
    error: AnthropicError
    request_id: str


ANTHROPIC_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": AnthropicErrorResponse, "description": "The request was refused"},
    "5XX": {"model": AnthropicErrorResponse, "description": "The server failed or is not ready"},
}
