"""/v1/responses: what is answered."""

from typing import Any, Literal

from pydantic import BaseModel

from server.api.schemas.usage import Usage

Status = Literal["completed", "failed", "in_progress", "cancelled", "queued", "incomplete"]


class IncompleteDetails(BaseModel):
    """Why an answer is not whole."""

    reason: Literal["max_output_tokens"]


class ResponseFailure(BaseModel):
    """Why there is no answer; `type` is the code of the table of errors."""

    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
    message: str
    param: str | None = None
    type: str


class ConversationReference(BaseModel):
    """What the response belongs to."""

    id: str


class InputTokensDetails(BaseModel):
    """Of the tokens that were read, how many the state cache had, and how many more it has now."""

    cached_tokens: int
    cache_write_tokens: int


class OutputTokensDetails(BaseModel):
    """Of the generated tokens, how many were reasoning."""

    reasoning_tokens: int


class ResponseUsage(BaseModel):
    """Tokens of a response."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int

    @classmethod
    def of(cls, usage: Usage) -> "ResponseUsage":
        """The same in these words."""
        return cls(
            input_tokens=usage.prompt_tokens,
            input_tokens_details=InputTokensDetails(**vars(usage.prompt_tokens_details)),
            output_tokens=usage.completion_tokens,
            output_tokens_details=OutputTokensDetails(**vars(usage.completion_tokens_details)),
            total_tokens=usage.total_tokens,
        )


class ResponseObject(BaseModel):
    """A response, with every field that OpenAI's has.

    Null for ever: what only their other models and services have.
    """

    id: str
    object: Literal["response"] = "response"
    created_at: int
    status: Status
    completed_at: int | None = None
    background: bool
    error: ResponseFailure | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    model: str
    output: list[dict[str, Any]] = []
    """Items: messages, and what else the assistant does."""
    parallel_tool_calls: bool
    previous_response_id: str | None
    conversation: ConversationReference | None
    prompt: None = None
    prompt_cache_key: str | None
    prompt_cache_options: dict[str, str]
    prompt_cache_retention: Literal["in_memory", "24h"] | None
    prompt_cache_diagnostics: None = None
    reasoning: dict[str, Any]
    safety_identifier: str | None
    service_tier: Literal["default"] = "default"
    store: bool
    temperature: float
    text: dict[str, Any]
    tool_choice: Any
    tools: list[dict[str, Any]]
    tool_usage: None = None
    top_logprobs: int
    top_p: float
    presence_penalty: float
    frequency_penalty: float
    truncation: Literal["auto", "disabled"]
    usage: ResponseUsage | None = None
    user: str | None
    metadata: dict[str, str]
    access_programs: None = None
    image: None = None
    input_transformations: None = None
    moderation: None = None


class DeletedResponse(BaseModel):
    """A response is no more."""

    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True
