"""/v1/messages: Anthropic's form of a conversation."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, FailFast, Field, model_validator
from pydantic_core import PydanticCustomError

from server.api.schemas.bounds import MAX_MESSAGES, MAX_PARTS, MAX_STRINGS
from server.api.schemas.chat import Lenient
from server.api.schemas.generation import GenerationRequest, as_stops
from server.api.schemas.peer_fields import NOT_IN_MESSAGES, UNSUPPORTED
from server.api.schemas.prompt import Unsupported
from server.api.schemas.template_fields import Effort
from server.api.schemas.tools import MOST_TOOLS, check_json
from server.api.schemas.validation import Text, invalid, printable

KINDS = ("text", "document", "tool_use", "tool_result", "thinking", "redacted_thinking")


class CacheControl(Lenient):
    """Asks for a state to be kept where a block ends; `ttl` promises nothing."""

    type: Literal["ephemeral"]


class Block(Lenient):
    """What all blocks have."""

    cache_control: CacheControl | None = None


class TextBlock(Block):
    """Text."""

    type: Literal["text"]
    text: Text


class PlainText(Lenient):
    """The one source of documents that a text model can read."""

    type: Literal["text"]
    data: Text


class DocumentBlock(Block):
    """A text with a title."""

    type: Literal["document"]
    source: PlainText
    title: Text | None = None
    context: Text | None = None

    @property
    def text(self) -> str:
        """As the model reads it."""
        return "\n".join(each for each in (self.title, self.context, self.source.data) if each)


def _check_input(value: dict[str, Any]) -> dict[str, Any]:
    check_json(value, "")  # the field at hand
    return value


class ToolUseBlock(Block):
    """An earlier call."""

    type: Literal["tool_use"]
    id: Text
    name: Text
    input: Annotated[dict[str, Any], AfterValidator(_check_input)]


class ThinkingBlock(Block):
    """Earlier thoughts; the signature is not looked at."""

    type: Literal["thinking"]
    thinking: Text


class RedactedThinkingBlock(Block):
    """Thoughts that another server has encrypted: nothing can be read of them."""

    type: Literal["redacted_thinking"]


def _as_blocks(value: Any) -> Any:
    """A string as one block; refuses blocks that are not known, by their name."""
    if isinstance(value, str):
        return [{"type": "text", "text": value}]
    for block in value if isinstance(value, list) else ():
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise invalid("should be a string or a list of blocks, each with a type")
        kind, source = block["type"], block.get("source")
        if kind == "document" and isinstance(source, dict) and source.get("type") != "text":
            raise _unsupported_content("documents whose source is not plain text")
        if kind not in KINDS:
            raise _unsupported_content(f"{kind[:64]} blocks")
    return value


def _unsupported_content(what: str) -> PydanticCustomError:
    message = "{what} are not supported: the model reads text only"
    return PydanticCustomError("unsupported_content", message, {"what": printable(what)})


SystemBlocks = Annotated[
    list[TextBlock],
    FailFast(),
    Field(max_length=MAX_PARTS),
    BeforeValidator(_as_blocks, json_schema_input_type=str | list[TextBlock]),
]
ResultBlock = Annotated[TextBlock | DocumentBlock, Field(discriminator="type")]
ResultBlocks = Annotated[
    list[ResultBlock],
    FailFast(),
    Field(max_length=MAX_PARTS),
    BeforeValidator(_as_blocks, json_schema_input_type=str | list[ResultBlock]),
]


class ToolResultBlock(Block):
    """What a call gave."""

    type: Literal["tool_result"]
    tool_use_id: Text
    content: ResultBlocks = Field(default_factory=list)
    is_error: bool = False

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, fields: Any) -> Any:
        return {k: v for k, v in fields.items() if v is not None}


AnyBlock = Annotated[
    TextBlock
    | DocumentBlock
    | ToolUseBlock
    | ToolResultBlock
    | ThinkingBlock
    | RedactedThinkingBlock,
    Field(discriminator="type"),
]
Blocks = Annotated[
    list[AnyBlock],
    FailFast(),
    Field(max_length=MAX_PARTS),
    BeforeValidator(_as_blocks, json_schema_input_type=str | list[AnyBlock]),
]

_OF_ROLES = {
    "user": (TextBlock, DocumentBlock, ToolResultBlock),
    "assistant": (TextBlock, ToolUseBlock, ThinkingBlock, RedactedThinkingBlock),
    "system": (TextBlock,),
}


class InputMessage(Lenient):
    """One message."""

    role: Literal["user", "assistant", "system"]
    content: Blocks

    @model_validator(mode="after")
    def _check_blocks(self) -> Self:
        for block in self.content:
            if not isinstance(block, _OF_ROLES[self.role]):
                raise invalid(f"a message of role {self.role} cannot have {block.type} blocks")
        return self


class Tool(Lenient):
    """A tool of the client's."""

    type: str | None = None
    name: Text
    description: Text | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None
    cache_control: CacheControl | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_server_tools(cls, fields: Any) -> Any:
        kind = fields.get("type") if isinstance(fields, dict) else None
        if isinstance(kind, str) and kind != "custom":
            message = "{kind} is a tool of Anthropic's servers: only custom tools are supported"
            raise PydanticCustomError(
                "unsupported_parameter", message, {"kind": printable(kind[:64])}
            )
        return fields

    @model_validator(mode="after")
    def _check_schema(self) -> Self:
        if self.input_schema is None:
            raise invalid("should have an input_schema")
        return self


class ToolChoice(Lenient):
    """Whether and what the model has to call."""

    type: Literal["auto", "any", "tool", "none"]
    name: Text | None = None
    disable_parallel_tool_use: bool = False

    @model_validator(mode="after")
    def _check_name(self) -> Self:
        if self.type == "tool" and self.name is None:
            raise invalid("is needed with the type tool", "tool_choice.name")
        return self


class Thinking(Lenient):
    """Whether to think; how much cannot be bounded, so the budget has no effect."""

    type: Literal["enabled", "disabled", "adaptive"]
    display: Literal["summarized", "omitted"] | None = None


class OutputFormat(Lenient):
    """What the answer must be like."""

    type: Literal["json_schema"]
    content: dict[str, Any] = Field(alias="schema")


class OutputConfig(Lenient):
    """The same, and how much to think."""

    effort: Effort | None = None
    format: OutputFormat | None = None


class CountTokensRequest(GenerationRequest):
    """The body of POST /v1/messages/count_tokens."""

    unsupported: ClassVar[Unsupported] = UNSUPPORTED | NOT_IN_MESSAGES

    messages: Annotated[list[InputMessage], FailFast()] = Field(
        min_length=1,
        max_length=MAX_MESSAGES,
        description="The conversation; a last one of the assistant's is continued.",
    )
    system: SystemBlocks = Field(
        default_factory=list, description="What comes before the conversation."
    )
    stop_sequences: Annotated[list[Text], FailFast(), BeforeValidator(as_stops)] = Field(
        default_factory=list,
        max_length=MAX_STRINGS,
        description="As `stop`.",
    )
    tools: Annotated[list[Tool], FailFast()] = Field(
        default_factory=list, max_length=MOST_TOOLS, description="Those that the client runs."
    )
    tool_choice: ToolChoice | None = Field(
        None, description="auto, any, tool or none; auto if there are tools."
    )
    thinking: Thinking | None = Field(None, description="Whether to think; the budget is no bound.")
    output_config: OutputConfig = Field(OutputConfig(), description="A schema, and an effort.")
    stream_options: Any = Field(None, description="Without effect: usage is always told.")
    output_format: OutputFormat | None = Field(None, description="An older output_config.format.")
    cache_control: CacheControl | None = Field(
        None, description="Counts all of the prompt as written to the cache; it is kept anyway."
    )

    @model_validator(mode="after")
    def _drop_empty_end(self) -> Self:
        """Clients send an empty message of the assistant's where its answer is to begin."""
        *before, last = self.messages
        texts = [block.text for block in last.content if isinstance(block, TextBlock)]
        is_empty = len(texts) == len(last.content) and not "".join(texts).strip()
        if before and last.role == "assistant" and is_empty:
            self.messages = before
        return self

    @property
    def hides_thoughts(self) -> bool:
        """Whether the thoughts are not to be told."""
        return self.thinking is not None and self.thinking.display == "omitted"


class MessagesRequest(CountTokensRequest):
    """The body of POST /v1/messages."""

    @model_validator(mode="after")
    def _needs_max_tokens(self) -> Self:
        if self.max_tokens is None:
            raise PydanticCustomError("missing", "Field required", {"param": "max_tokens"})
        return self
