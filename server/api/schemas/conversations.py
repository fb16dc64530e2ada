"""/v1/conversations, and lists of items."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

from server.api.schemas.chat import Lenient
from server.api.schemas.responses import Items, Metadata

ADDED_AT_ONCE = 20
"""Items, as OpenAI has it."""


NoneIsEmpty = BeforeValidator(lambda value: {} if value is None else value)


class ConversationRequest(Lenient):
    """The body of POST /v1/conversations."""

    items: Annotated[
        Items,
        Field(max_length=ADDED_AT_ONCE),
        BeforeValidator(lambda value: [] if value is None else value),
    ] = Field(default_factory=list)
    metadata: Annotated[Metadata, NoneIsEmpty] = Field(default_factory=dict)


class ConversationUpdate(Lenient):
    """The body of POST /v1/conversations/{id}: all its metadata anew."""

    metadata: Annotated[Metadata, NoneIsEmpty]


class ItemsRequest(Lenient):
    """The body of POST /v1/conversations/{id}/items."""

    items: Annotated[Items, Field(min_length=1, max_length=ADDED_AT_ONCE)]


class ConversationObject(BaseModel):
    """A conversation without its items."""

    id: str
    object: Literal["conversation"] = "conversation"
    created_at: int
    metadata: dict[str, str]


class DeletedConversation(BaseModel):
    """A conversation is no more."""

    id: str
    object: Literal["conversation.deleted"] = "conversation.deleted"
    deleted: Literal[True] = True


class ItemsQuery(BaseModel):
    """The query of lists of items."""

    limit: int = Field(20, ge=1, le=100)
    order: Literal["asc", "desc"] = "desc"
    after: str = Field("", max_length=256, description="The id that the page comes after.")


class ItemList(BaseModel):
    """A page of items."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
    first_id: str
    last_id: str
    has_more: bool
