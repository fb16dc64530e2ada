"""Items that clients send to /v1/responses and /v1/conversations.

A further kind is a model more in `InputItem`, and what `server/api/responses/items.py` makes of it.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, FailFast, Field, Tag

from server.api.schemas.chat import Lenient, PromptCacheBreakpoint
from server.api.schemas.validation import Text

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


def _kind_of_part(part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in _TEXTS:
        return "text"
    return kind if kind == "refusal" else ""


Part = Annotated[
    Annotated[InputText, Tag("text")] | Annotated[Refusal, Tag("refusal")],
    Discriminator(
        _kind_of_part,
        custom_error_type="unsupported_content",
        custom_error_message="only text parts are supported",
    ),
]


def _as_parts(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


Parts = Annotated[
    list[Part], FailFast(), BeforeValidator(_as_parts, json_schema_input_type=str | list[Part])
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
    arguments: Text


class FunctionCallOutputItem(Lenient):
    """What the tool answered."""

    type: Literal["function_call_output"]
    call_id: Text
    output: Parts


class SummaryText(Lenient):
    """Of a thought."""

    type: Literal["summary_text"]
    text: Text


class ReasoningText(Lenient):
    """A thought."""

    type: Literal["reasoning_text"]
    text: Text


class ReasoningItem(Lenient):
    """What the assistant thought before it said or did something.

    `encrypted_content` is of other servers, and means nothing here.
    """

    type: Literal["reasoning"]
    summary: Annotated[list[SummaryText], FailFast()] = Field(default_factory=list)
    content: Annotated[list[ReasoningText] | None, FailFast()] = None


class ItemReference(Lenient):
    """Stands for an item that the server has kept."""

    type: Literal["item_reference"] | None = None
    id: Text = Field(max_length=256)


_KINDS = ("message", "function_call", "function_call_output", "reasoning", "item_reference")


def _kind_of_item(item: Any) -> str:
    if not isinstance(item, dict):
        return ""
    kind = item.get("type")
    if kind is None:
        return "message" if "role" in item else "item_reference"
    return kind if kind in _KINDS else ""


InputItem = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[FunctionCallItem, Tag("function_call")]
    | Annotated[FunctionCallOutputItem, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")]
    | Annotated[ItemReference, Tag("item_reference")],
    Discriminator(
        _kind_of_item,
        custom_error_type="unsupported_content",
        custom_error_message="items of this type are not supported",
    ),
]
