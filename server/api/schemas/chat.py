"""/v1/chat/completions: messages in, an assistant's message out."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    model_validator,
)
from pydantic_core import PydanticCustomError

from server.api.schemas.bounds import MAX_CALLS, MAX_MESSAGES, MAX_PARTS, check_items
from server.api.schemas.generation import GenerationRequest, MaxTokens
from server.api.schemas.peer_fields import NOT_IN_CHATS, UNSUPPORTED
from server.api.schemas.prompt import Unsupported
from server.api.schemas.role_fields import NotRaw, Role
from server.api.schemas.template_fields import TemplateFields
from server.api.schemas.tools import Choice
from server.api.schemas.validation import Text, invalid
from server.assistant.forced_calls import ANY_TOOL
from server.sampling.token_logprobs import MOST_TOP


class PromptCacheBreakpoint(BaseModel):
    """Asks for a state to be kept where a content part ends."""

    mode: Literal["explicit"]
    ttl: Literal["30m", "12h"] = Field(
        "30m", description="No promise: states stay for as long as there is room for them."
    )


class TextPart(BaseModel):
    """The one kind of content part that a text model can read."""

    type: Literal["text"]
    text: str
    prompt_cache_breakpoint: PromptCacheBreakpoint | None = None


class RefusalPart(BaseModel):
    """What an assistant said instead of an answer: text as any other for the model."""

    type: Literal["refusal"]
    refusal: str


_PARTS = {"text": "text", "refusal": "refusal"}
"""The types of parts, and which of their fields has the text."""

_SEPARATOR = "\n"
"""Between the parts of a content."""


def _join_parts(content: Any) -> Any:
    """A list of text parts as one string, a part a line; anything else is left as it is."""
    if not isinstance(content, list):
        return content
    check_items(content, MAX_PARTS)
    texts: list[str] = []
    for part in content:
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise invalid("should be a string or a list of content parts, each with a type")
        if part["type"] not in _PARTS:
            raise PydanticCustomError("unsupported_content", "only text parts are supported")
        if not isinstance(part.get(_PARTS[part["type"]]), str):
            raise invalid("a part should have a string in the field of its type")
        _check_breakpoint(part.get("prompt_cache_breakpoint"))
        texts.append(part[_PARTS[part["type"]]])
    return _SEPARATOR.join(texts)


def _check_breakpoint(value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, dict) or value.get("mode") != "explicit":
        raise invalid('prompt_cache_breakpoint should be an object with the mode "explicit"')
    if value.get("ttl") not in (None, "30m", "12h"):
        raise invalid('prompt_cache_breakpoint.ttl should be "30m" or "12h"')


def _breakpoints(content: Any) -> list[int]:
    """After how many characters of the joined parts those end that have a breakpoint."""
    found, length = [], 0
    for part in content if isinstance(content, list) else ():
        length += len(part[_PARTS[part["type"]]])
        if part.get("prompt_cache_breakpoint") is not None:
            found.append(length)
        length += len(_SEPARATOR)
    return found


Content = Annotated[
    Text | None,
    BeforeValidator(_join_parts, json_schema_input_type=str | list[TextPart | RefusalPart] | None),
]


class Lenient(BaseModel):
    """Parts of a message: strict about types, indifferent to unknown keys."""

    model_config = ConfigDict(strict=True, extra="ignore")


class FunctionCall(Lenient):
    """Which function the assistant called; `arguments` is JSON as the model wrote it."""

    name: Text
    arguments: Text = "{}"


class ToolCall(Lenient):
    """One earlier call of a tool."""

    id: Text | None = None
    type: Literal["function"] = "function"
    function: FunctionCall

    def as_dict(self) -> dict[str, Any]:
        """For the chat template; without an id if it has none."""
        function = {"name": self.function.name, "arguments": self.function.arguments}
        call = {"type": self.type, "function": function}
        return call if self.id is None else {"id": self.id, **call}


class Message(Lenient):
    """One message of the conversation."""

    role: Role
    content: Content = None
    name: Text | None = None
    reasoning_content: Text | None = None
    reasoning: Text | None = None
    tool_calls: Annotated[list[ToolCall] | None, FailFast(), Field(max_length=MAX_CALLS)] = None
    function_call: FunctionCall | None = None
    tool_call_id: Text | None = None
    prefix: bool | None = None
    raw: NotRaw = None
    _breakpoints: list[int] = PrivateAttr(default_factory=list)

    @model_validator(mode="wrap")
    @classmethod
    def _keep_breakpoints(cls, fields: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        message = handler(fields)
        message._breakpoints = _breakpoints(fields.get("content"))
        return message

    @model_validator(mode="after")
    def _check_content(self) -> Self:
        # Two older names of the same.
        if self.reasoning_content is None:
            self.reasoning_content = self.reasoning
        if self.tool_calls is None and self.function_call is not None:
            self.tool_calls = [ToolCall(function=self.function_call)]
        # An assistant may have only called a tool, or refused.
        if self.content is None and self.role != "assistant":
            raise invalid(f"a message of role {self.role} should have content")
        return self

    @property
    def breakpoints(self) -> list[int]:
        """After how many characters of the content a state is to be kept."""
        return self._breakpoints

    def as_dict(self) -> dict[str, Any]:
        """For the chat template: content is always a string, other absent fields are left out."""
        # By hand: model_dump() takes ten times as long, and there may be thousands of messages.
        fields: dict[str, Any] = {"content": self.content or "", "role": self.role}
        if self.name is not None:
            fields["name"] = self.name
        if self.reasoning_content is not None:
            fields["reasoning_content"] = self.reasoning_content
        if self.tool_calls is not None:
            fields["tool_calls"] = [call.as_dict() for call in self.tool_calls]
        if self.tool_call_id is not None:
            fields["tool_call_id"] = self.tool_call_id
        return fields


# FailFast: a body of millions of wrong items must not make millions of errors.
Messages = Annotated[list[Message], FailFast(), Field(max_length=MAX_MESSAGES)]


def _uses_functions(fields: Any) -> bool:
    return (
        isinstance(fields, dict)
        and bool(fields.get("functions"))
        and fields.get("function_call") != "none"
    )


class ChatPromptRequest(TemplateFields):
    """A conversation, and how the assistant's answer follows it: all that makes a chat's prompt."""

    messages: Messages = Field(min_length=1, description="The conversation.")
    tool_choice: Choice = Field(
        ANY_TOOL,
        description="none, auto, required, a function, or allowed_tools; auto if there are tools.",
    )
    add_generation_prompt: bool | None = Field(
        None, description="Whether the answer is a new message; yes unless it continues one."
    )
    continue_final_message: bool = Field(
        False, description="Go on with the last message, which is the assistant's."
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_functions(cls, fields: Any) -> Any:
        if _uses_functions(fields):
            raise PydanticCustomError(
                "unsupported_parameter",
                "is what tools was once called: send tools and tool_choice",
                {"param": "functions"},
            )
        return fields

    @model_validator(mode="after")
    def _check_choice(self) -> Self:
        names = {tool["function"]["name"] for tool in self.tools}
        if self.tool_choice.mode in ("required", "named") and not names:
            raise invalid("needs tools", "tool_choice")
        if not names.issuperset(self.tool_choice.names):
            raise invalid("names a function that is not in tools", "tool_choice")
        return self

    @model_validator(mode="after")
    def _take_prefix(self) -> Self:
        """DeepSeek's and Mistral's way to say that the last message is to be continued."""
        marked = [number for number, message in enumerate(self.messages) if message.prefix]
        if not marked:
            return self
        last = self.messages[-1]
        if marked != [len(self.messages) - 1] or last.role != "assistant":
            raise invalid(
                "is only for the last message, which must be the assistant's",
                f"messages[{marked[0]}].prefix",
            )
        if (last.content or "").strip() or last.tool_calls:
            self.continue_final_message = True
        else:
            self.messages = self.messages[:-1]
            if not self.messages:
                raise invalid("should have a message before the empty one", "messages")
        return self

    @model_validator(mode="after")
    def _check_continuation(self) -> Self:
        if not self.continue_final_message:
            return self
        if self.add_generation_prompt:
            raise invalid("cannot be true with continue_final_message", "add_generation_prompt")
        last = self.messages[-1] if self.messages else None
        if (
            last is None
            or last.role != "assistant"
            or last.tool_calls
            or not (last.content or "").strip()
        ):
            raise invalid(
                "needs a last message of the assistant, with content and without calls",
                "continue_final_message",
            )
        return self

    @property
    def shown_tools(self) -> list[dict[str, Any]]:
        """The tools that the model is told of."""
        return [] if self.tool_choice.mode == "none" else self.tools


class ChatCompletionRequest(GenerationRequest, ChatPromptRequest):
    """The body of POST /v1/chat/completions."""

    unsupported: ClassVar[Unsupported] = UNSUPPORTED | NOT_IN_CHATS

    max_completion_tokens: MaxTokens | None = Field(None, description="Overrides max_tokens.")
    logprobs: bool = Field(False, description="The log-probability of each token of the answer.")
    top_logprobs: int = Field(
        0, ge=0, le=MOST_TOP, description="So many most likely tokens beside it; needs logprobs."
    )
    include_reasoning: bool = Field(True, description="Whether the response has the reasoning.")
    parallel_tool_calls: bool = Field(True, description="Whether an answer may have many calls.")

    @model_validator(mode="after")
    def _check_top_logprobs(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise invalid("needs logprobs to be true", "top_logprobs")
        self._check_stream_options()
        return self

    @property
    def wanted_logprobs(self) -> int:
        """See GenerationRequest."""
        return self.top_logprobs if self.logprobs else -1
