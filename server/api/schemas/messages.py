"""/v1/messages: Anthropic's request and answer."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, Discriminator, FailFast, Field, Tag

from server.api.schemas.chat import Lenient
from server.api.schemas.generation import UNSUPPORTED, GenerationRequest, StopStrings, in_use
from server.api.schemas.prompt import Unsupported
from server.api.schemas.validation import Text

_NEVER: Unsupported = {
    name: in_use(name)
    for name in ("mcp_servers", "container", "context_management", "save_state", "state_id")
}


class CacheControl(Lenient):
    """Asks for a state to be kept where its block ends; for how long is the server's matter."""

    type: Literal["ephemeral"]


class TextBlock(Lenient):
    """Text, whoever said it."""

    type: Literal["text"]
    text: Text
    cache_control: CacheControl | None = None


class ThinkingBlock(Lenient):
    """What the assistant thought; a signature means nothing here."""

    type: Literal["thinking"]
    thinking: Text


class RedactedThinkingBlock(Lenient):
    """Thoughts that only another server can read."""

    type: Literal["redacted_thinking"]


class ToolUseBlock(Lenient):
    """A call of a tool, by the assistant."""

    type: Literal["tool_use"]
    id: Text
    name: Text
    input: dict[str, Any]


class TextSource(Lenient):
    """A document of plain text."""

    type: Literal["text"]
    data: Text


class DocumentBlock(Lenient):
    """A text to be read; of others than plain ones nothing can be read."""

    type: Literal["document"]
    source: TextSource
    title: Text | None = None
    context: Text | None = None
    cache_control: CacheControl | None = None


def _as_blocks(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


Texts = Annotated[
    list[TextBlock],
    FailFast(),
    BeforeValidator(_as_blocks, json_schema_input_type=str | list[TextBlock]),
]


class ToolResultBlock(Lenient):
    """What a tool answered."""

    type: Literal["tool_result"]
    tool_use_id: Text
    content: Texts = Field(default_factory=list)
    is_error: bool = False
    cache_control: CacheControl | None = None


_KINDS = ("text", "thinking", "redacted_thinking", "tool_use", "tool_result", "document")


def _kind_of(block: Any) -> str:
    kind = block.get("type") if isinstance(block, dict) else None
    return kind if kind in _KINDS else ""


Block = Annotated[
    Annotated[TextBlock, Tag("text")]
    | Annotated[ThinkingBlock, Tag("thinking")]
    | Annotated[RedactedThinkingBlock, Tag("redacted_thinking")]
    | Annotated[ToolUseBlock, Tag("tool_use")]
    | Annotated[ToolResultBlock, Tag("tool_result")]
    | Annotated[DocumentBlock, Tag("document")],
    Discriminator(
        _kind_of,
        custom_error_type="unsupported_content",
        custom_error_message="content of this type is not supported: the models read text",
    ),
]


Blocks = Annotated[
    list[Block],
    FailFast(),
    BeforeValidator(_as_blocks, json_schema_input_type=str | list[Block]),
]


class InputMessage(Lenient):
    """A message of the conversation."""

    role: Literal["user", "assistant", "system"]
    content: Blocks


class Tool(Lenient):
    """A function of the client. What Anthropic's servers would run themselves is refused."""

    type: Text = "custom"
    name: Text = ""
    description: Text | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool = False


class ToolChoice(Lenient):
    """Which tools may or must be used."""

    type: Literal["auto", "any", "tool", "none"]
    name: Text = ""
    disable_parallel_tool_use: bool = False


class Thinking(Lenient):
    """Whether to think before the answer; how long is the model's matter."""

    type: Literal["enabled", "disabled", "adaptive"]


class OutputFormat(Lenient):
    """JSON of a schema."""

    type: Literal["json_schema"]
    content: dict[str, Any] = Field(alias="schema")


class OutputConfig(Lenient):
    """What the answer should be like."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class MessagesRequest(GenerationRequest):
    """The body of POST /v1/messages: Anthropic's fields, and those of sampling as in chat."""

    unsupported: ClassVar[Unsupported] = UNSUPPORTED | _NEVER

    max_tokens: int = Field(ge=1)
    messages: Annotated[list[InputMessage], FailFast()] = Field(min_length=1, max_length=100_000)
    system: Texts = Field(default_factory=list)
    stop_sequences: StopStrings = Field(default_factory=list)
    tools: Annotated[list[Tool], FailFast()] = Field(default_factory=list, max_length=128)
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig = OutputConfig()
    output_format: OutputFormat | None = Field(None, description="Older: output_config.format.")
    cache_control: CacheControl | None = Field(
        None, description="Without effect: the state at the end of a prompt is always kept."
    )
    n: Literal[1] = Field(1, description="An answer is one message.")
    best_of: Literal[1] | None = None


class CountTokensRequest(MessagesRequest):
    """The body of POST /v1/messages/count_tokens."""

    max_tokens: int = Field(1, ge=1)


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
