"""Items that clients send to /v1/responses and /v1/conversations.

A further kind is a model more in `InputItem`, and what `server/api/responses/items.py` makes of it.
"""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    FailFast,
    Field,
    Tag,
    model_validator,
)

from server.api.schemas.bounds import MAX_PARTS
from server.api.schemas.chat import Lenient, PromptCacheBreakpoint
from server.api.schemas.validation import Text, check_json_value

_TEXTS = ("input_text", "output_text", "text")

MOST_ITEMS = 16_384
"""Of a request; more would take the store seconds."""


class InputText(Lenient):
    """Text, whoever said it."""

    type: Literal["input_text", "output_text", "text"]
    text: Text
    prompt_cache_breakpoint: PromptCacheBreakpoint | None = None


class Refusal(Lenient):
    """What an assistant said instead of an answer."""

    type: Literal["refusal"]
    refusal: Text


class Attachment(Lenient):
    """An image or a file, which no text model can read: a short text stands for it.

    What a client has put into its history once comes again and again, so it is refused only in the
    last message (see items.check_attachments).
    """

    type: Literal["input_image", "input_file", "input_audio"]
    filename: Text | None = None


def _kind_of_part(part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in _TEXTS:
        return "text"
    if kind in ("input_image", "input_file", "input_audio"):
        return "attachment"
    return kind if kind == "refusal" else ""


Part = Annotated[
    Annotated[InputText, Tag("text")]
    | Annotated[Refusal, Tag("refusal")]
    | Annotated[Attachment, Tag("attachment")],
    Discriminator(
        _kind_of_part,
        custom_error_type="unsupported_content",
        custom_error_message="only text parts are supported",
    ),
]


def _as_parts(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


Parts = Annotated[
    list[Part],
    FailFast(),
    Field(max_length=MAX_PARTS),
    BeforeValidator(_as_parts, json_schema_input_type=str | list[Part]),
]


class MessageItem(Lenient):
    """Something that was said."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Parts
    phase: Literal["commentary", "final_answer"] | None = None


class FunctionCallItem(Lenient):
    """A call of a tool, by the assistant."""

    type: Literal["function_call"]
    call_id: Text
    name: Text
    namespace: Text | None = None
    arguments: Text


class FunctionCallOutputItem(Lenient):
    """What the tool answered."""

    type: Literal["function_call_output"]
    call_id: Text
    output: Parts


class CustomToolCallItem(Lenient):
    """A call of a tool whose input is text, by the assistant."""

    type: Literal["custom_tool_call"]
    call_id: Text
    name: Text
    namespace: Text | None = None
    input: Text


class CustomToolCallOutputItem(Lenient):
    """What that tool answered."""

    type: Literal["custom_tool_call_output"]
    call_id: Text
    output: Parts


class SummaryText(Lenient):
    """Of a thought."""

    type: Literal["summary_text"]
    text: Text


class ReasoningText(Lenient):
    """A thought."""

    type: Literal["reasoning_text", "text"]
    text: Text


class ReasoningItem(Lenient):
    """What the assistant thought before it said or did something.

    `encrypted_content` is of other servers, and means nothing here.
    """

    type: Literal["reasoning"]
    summary: Annotated[list[SummaryText], FailFast()] = Field(
        default_factory=list, max_length=MAX_PARTS
    )
    content: Annotated[list[ReasoningText] | None, FailFast(), Field(max_length=MAX_PARTS)] = None


class ItemReference(Lenient):
    """Stands for an item that the server has kept."""

    type: Literal["item_reference"] | None = None
    id: Text = Field(max_length=256)


OtherKind = Literal[
    "apply_patch_call",
    "apply_patch_call_output",
    "code_interpreter_call",
    "computer_call",
    "computer_call_output",
    "file_search_call",
    "image_generation_call",
    "local_shell_call",
    "local_shell_call_output",
    "mcp_approval_request",
    "mcp_approval_response",
    "mcp_call",
    "mcp_list_tools",
    "shell_call",
    "shell_call_output",
    "tool_search_call",
    "tool_search_output",
    "web_search_call",
    # Of clients' own making, or of other servers.
    "additional_tools",
    "compaction",
    "compaction_summary",
    "compaction_trigger",
    "context_compaction",
    "ghost_snapshot",
]
"""Types of items that this server does not make; other_items.py has what the model sees of them."""


class OtherItem(BaseModel):
    """Part of a history that was made with other tools, or elsewhere: kept as it is."""

    model_config = ConfigDict(strict=True, extra="allow")

    type: OtherKind

    @model_validator(mode="after")
    def _check_fields(self) -> Self:
        check_json_value(self.model_extra)
        return self


_KINDS = (
    *("message", "function_call", "function_call_output", "reasoning", "item_reference"),
    *("custom_tool_call", "custom_tool_call_output"),
)
_OTHERS = frozenset(get_args(OtherKind))


def _kind_of_item(item: Any) -> str:
    if not isinstance(item, dict):
        return ""
    kind = item.get("type")
    if kind is None:
        return "message" if "role" in item else "item_reference"
    if not isinstance(kind, str):
        return ""
    return "other" if kind in _OTHERS else kind if kind in _KINDS else ""


InputItem = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[FunctionCallItem, Tag("function_call")]
    | Annotated[FunctionCallOutputItem, Tag("function_call_output")]
    | Annotated[CustomToolCallItem, Tag("custom_tool_call")]
    | Annotated[CustomToolCallOutputItem, Tag("custom_tool_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")]
    | Annotated[ItemReference, Tag("item_reference")]
    | Annotated[OtherItem, Tag("other")],
    Discriminator(
        _kind_of_item,
        custom_error_type="unsupported_content",
        custom_error_message="items of this type are not supported",
    ),
]
