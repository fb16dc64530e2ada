"""/v1/responses: the request."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, FailFast, Field, model_validator
from pydantic_core import PydanticCustomError

from server.api.schemas.bounds import MAX_METADATA, at_most
from server.api.schemas.chat import Lenient
from server.api.schemas.generation import GenerationRequest, MaxTokens
from server.api.schemas.items import MOST_ITEMS, InputItem
from server.api.schemas.peer_fields import NOT_IN_RESPONSES, UNSUPPORTED
from server.api.schemas.prompt import Unsupported
from server.api.schemas.validation import Json, Text, invalid

LOGPROBS = "message.output_text.logprobs"
"""What `include` has in it when log-probabilities are asked for."""

NEVER: Unsupported = {
    name: lambda fields, name=name: bool(fields.get(name))
    for name in (
        # Of others than text models, or of other servers' stores.
        *("prompt", "moderation", "context_management"),
        # previous_response_id does what these do elsewhere.
        *("state_id", "save_state"),
    )
} | {
    "n": lambda fields: fields.get("n") not in (None, 1),
    "best_of": lambda fields: fields.get("best_of") not in (None, 1),
}


def as_items(value: Any) -> Any:
    """A text as the message of a user."""
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


Items = Annotated[list[InputItem], FailFast()]

Metadata = Annotated[
    dict[Annotated[Text, Field(max_length=64)], Annotated[Text, Field(max_length=512)]],
    Field(max_length=MAX_METADATA),
    at_most(MAX_METADATA),
]
"""Free text that belongs to something that is kept."""


def _ident(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if not isinstance(value.get("id"), str):
        raise invalid("should be an id, or an object with an id")
    return value["id"]


Ident = Annotated[Text, Field(min_length=1, max_length=256)]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class Reasoning(Lenient):
    """How much a model should think that can; others have no use for it."""

    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class TextFormat(Lenient):
    """Free text, a JSON object, or JSON of a schema, whose name it has beside it."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: Text = Field("", max_length=64)
    description: Text | None = None
    content: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = Field(None, description="Without effect: schemas are always kept to.")

    @model_validator(mode="after")
    def _check_schema(self) -> Self:
        if self.type == "json_schema" and self.content is None:
            raise invalid("is needed with the type json_schema", "text.format.schema")
        return self


class TextConfig(Lenient):
    """What the text should be like."""

    format: TextFormat = TextFormat()
    verbosity: Literal["low", "medium", "high"] | None = Field(
        None, description="Without effect: say it in the instructions."
    )


class ResponseRequest(GenerationRequest):
    """The body of POST /v1/responses: OpenAI's fields, and those of sampling."""

    unsupported: ClassVar[Unsupported] = UNSUPPORTED | NOT_IN_RESPONSES | NEVER

    type: Text | None = Field(
        None, max_length=64, description="Of a message over a WebSocket: response.create."
    )
    generate: bool = Field(
        True, description="If not, the input is read for the turns to come, and not answered."
    )
    input: Annotated[
        Items,
        Field(max_length=MOST_ITEMS),
        BeforeValidator(as_items, json_schema_input_type=str | list[InputItem]),
    ] = Field(default_factory=list, description="Text, or items of text and of functions.")
    instructions: Text | None = Field(
        None, description="A system message before all others; the next turn needs it again."
    )
    previous_response_id: Ident | None = Field(
        None, description="The response that this one goes on from."
    )
    conversation: Annotated[
        Ident | None, BeforeValidator(_ident, json_schema_input_type=str | dict[str, Any] | None)
    ] = Field(None, description="The conversation that it goes on, and is added to.")
    truncation: Literal["auto", "disabled"] = Field(
        "disabled", description="Without effect: RWKV has no context limit."
    )
    reasoning: Reasoning = Field(Reasoning(), description="How much to think, if the model can.")
    text: TextConfig = Field(TextConfig(), description="What the text should be like.")
    tools: Annotated[list[dict[str, Json]], FailFast()] = Field(
        default_factory=list, max_length=128, description="Functions, namespaces and custom tools."
    )
    tool_choice: Json = Field(
        "auto", description="none, auto, required, a function or custom tool, or allowed_tools."
    )
    parallel_tool_calls: bool = Field(True, description="Whether an answer may have many calls.")
    store: bool | None = Field(None, description="Keep the response; true unless nothing is kept.")
    metadata: Metadata = Field(default_factory=dict, description="Free text that is kept with it.")
    background: bool = Field(False, description="Answer at once, and go on without the client.")
    max_output_tokens: MaxTokens | None = Field(
        None, description="Most tokens to generate, thoughts too."
    )
    max_tokens: int | None = Field(
        None, ge=1, description="Refused with 400: it is max_output_tokens here."
    )
    stream_options: Any = Field(None, description="Without effect: the last event has the usage.")
    max_tool_calls: int | None = Field(
        None, ge=1, le=10**9, description="Of built-in tools: there are none."
    )
    top_logprobs: int = Field(
        0, ge=0, le=20, description="That many beside each token's own, which any number asks for."
    )
    include: Annotated[list[Text], FailFast()] = Field(
        default_factory=list, max_length=16, description=f"Only {LOGPROBS} has an effect."
    )
    service_tier: Text = Field("auto", max_length=64, description="There is only the default one.")
    user: Text | None = Field(None, max_length=512, description="Without effect; shown again.")
    safety_identifier: Text | None = Field(
        None, max_length=512, description="Without effect; shown again."
    )

    @property
    def wants_logprobs(self) -> bool:
        """Whether the output's text is to have log-probabilities."""
        return self.top_logprobs > 0 or LOGPROBS in self.include

    @model_validator(mode="before")
    @classmethod
    def _refuse_max_tokens(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("max_tokens") is not None:
            raise PydanticCustomError(
                "unsupported_parameter", "is max_output_tokens here", {"param": "max_tokens"}
            )
        return fields

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if self.conversation is not None and self.previous_response_id is not None:
            raise invalid("should not be given together with conversation", "previous_response_id")
        if self.text.format.type != "text" and self.output is not None:
            raise invalid(f"cannot be used with {self.output[0]}", "text.format")
        if self.background and self.store is False:
            raise invalid("needs store = true", "background")
        return self


class InputTokens(BaseModel):
    """How many tokens the model would read."""

    object: Literal["response.input_tokens"] = "response.input_tokens"
    input_tokens: int
