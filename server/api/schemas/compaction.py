"""/v1/responses/compact."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, FailFast, Field

from server.api.schemas.items import MOST_ITEMS, InputItem
from server.api.schemas.prompt import PromptRequest, Unsupported
from server.api.schemas.response_object import ResponseUsage
from server.api.schemas.responses import Ident, Items, as_items
from server.api.schemas.validation import Json, Text


class CompactRequest(PromptRequest):
    """The body of POST /v1/responses/compact."""

    unsupported: ClassVar[Unsupported] = {
        # previous_response_id, or an earlier compaction, does what this does elsewhere.
        "state_id": lambda fields: bool(fields.get("state_id")),
    }

    model: str = Field(description="The id of a served model.")
    input: Annotated[
        Items,
        Field(max_length=MOST_ITEMS),
        BeforeValidator(as_items, json_schema_input_type=str | list[InputItem]),
    ] = Field(default_factory=list, description="Text, or items, that the state is to have read.")
    instructions: Text | None = Field(
        None, description="A system message before all others: that of the turns to come."
    )
    previous_response_id: Ident | None = Field(
        None, description="The response whose conversation comes before the input."
    )
    tools: Annotated[list[dict[str, Json]], FailFast()] = Field(
        default_factory=list, max_length=128, description="Those of the turns to come."
    )


class CompactionObject(BaseModel):
    """A conversation in short: send the output as the beginning of the next input."""

    id: str
    object: Literal["response.compaction"] = "response.compaction"
    created_at: int
    output: list[dict[str, Any]]
    """What the user has said, and an item that stands for all of it."""
    usage: ResponseUsage
