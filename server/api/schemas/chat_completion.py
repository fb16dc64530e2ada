"""What /v1/chat/completions answers."""

from typing import Any, Literal, Self

from pydantic import BaseModel, SerializerFunctionWrapHandler, model_serializer

from server.api.schemas.usage import Usage
from server.assistant.answer import Answer


class GeneratedFunction(BaseModel):
    """A function that the model calls; `arguments` is JSON as the model wrote it."""

    name: str
    arguments: str


class GeneratedCall(BaseModel):
    """A call of a tool."""

    id: str
    type: Literal["function"] = "function"
    function: GeneratedFunction


class AssistantMessage(BaseModel):
    """The generated message; it has thoughts and calls only if there are some."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[GeneratedCall] | None = None

    @classmethod
    def of(cls, answer: Answer, include_reasoning: bool = True) -> Self:
        """What was said, as the API shows it."""
        calls = [
            GeneratedCall(
                id=call.id, function=GeneratedFunction(name=call.name, arguments=call.arguments)
            )
            for call in answer.calls
        ]
        thoughts = (answer.reasoning or None) if include_reasoning else None
        return cls(
            content=answer.content or (None if calls or answer.must_call else ""),
            reasoning_content=thoughts,
            reasoning=thoughts,
            tool_calls=calls or None,
        )

    @model_serializer(mode="wrap")
    def _leave_out(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = serialize(self)
        optional = ("reasoning_content", "reasoning", "tool_calls")
        absent = {name for name in optional if fields[name] is None}
        return {name: value for name, value in fields.items() if name not in absent}


class TopLogprob(BaseModel):
    """A token that could have been there."""

    token: str
    logprob: float
    bytes: list[int] | None
    """None for a special token."""


class ContentLogprob(TopLogprob):
    """A token of the answer, and the most likely ones in its place."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(BaseModel):
    """The tokens of an answer."""

    content: list[ContentLogprob]
    refusal: None = None


class ChatChoice(BaseModel):
    """One generated message."""

    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: Literal["stop", "length", "tool_calls"]


class ChatCompletion(BaseModel):
    """The answer of POST /v1/chat/completions."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    service_tier: Literal["default"] = "default"
    choices: list[ChatChoice]
    usage: Usage
    state_id: str | None = None
    """The state after the answer; absent unless it was to be saved."""
