"""/v1/states: named states."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from server.api.schemas.chat import Messages
from server.api.schemas.completions import as_one_prompt
from server.api.schemas.template_fields import TemplateFields
from server.api.schemas.validation import Text, invalid
from server.api.schemas.whole_numbers import whole_numbers


class StateOptions(BaseModel):
    """What may be said of a state. Absent or null: the default, or in a change as it was."""

    model_config = ConfigDict(strict=True, extra="ignore")

    name: Text | None = Field(None, max_length=256, description="Free text; empty is none.")
    ttl_seconds: int | None = Field(
        None,
        ge=0,
        le=10**9,
        description="It expires so long after its last use; 0: never; the server's if absent.",
    )
    pinned: bool | None = Field(None, description="It never expires, whatever ttl_seconds.")

    @model_validator(mode="before")
    @classmethod
    def _take_whole_numbers(cls, fields: Any) -> Any:
        return whole_numbers(cls, fields) if isinstance(fields, dict) else fields


class StateRequest(StateOptions, TemplateFields):
    """The body of POST /v1/states: `prompt` or `messages`, not both."""

    prompt: Annotated[
        list[str] | list[list[int]],
        PlainValidator(as_one_prompt, json_schema_input_type=str | list[int]),
    ] = Field(default_factory=list)
    messages: Messages = Field(default_factory=list)
    add_generation_prompt: bool = Field(
        False, description="Go on to where the assistant's answer begins."
    )

    @model_validator(mode="after")
    def _check_input(self) -> Self:
        if self.prompt and self.messages:
            raise invalid("should not be given together with prompt", "messages")
        if any(message.prefix for message in self.messages):
            raise invalid("a state ends with whole messages: leave prefix out", "messages")
        if not self.prompt and not self.messages:
            raise PydanticCustomError(
                "missing_required_parameter", "or messages should be given", {"param": "prompt"}
            )
        return self


class ImportQuery(StateOptions):
    """The query of POST /v1/states/import."""

    model_config = ConfigDict(strict=False)

    model: str = Field("", description="The id of the model that made it; the default if absent.")


class ListQuery(BaseModel):
    """The query of GET /v1/states."""

    limit: int = Field(20, ge=1, le=100)
    after: str = Field("", description="The id that the page comes after.")
    order: Literal["asc", "desc"] = Field("desc", description="By creation.")
    model: str | None = Field(None, description="Only those of this model.")
    name: str | None = Field(None, description="Only those of this name.")


class State(BaseModel):
    """A named state."""

    id: str
    object: Literal["state"] = "state"
    created_at: int
    model: str
    name: str | None
    tokens: int
    """How many tokens it has read."""
    bytes: int
    pinned: bool
    ttl_seconds: int
    expires_at: int | None
    fingerprint: str
    """Of the model and arithmetic that it depends on."""
    usable: bool
    """Whether the model is loaded and can go on from it, perhaps after reading its tokens again."""


class StateList(BaseModel):
    """A page of named states."""

    object: Literal["list"] = "list"
    data: list[State]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedState(BaseModel):
    """A named state is no more."""

    id: str
    object: Literal["state.deleted"] = "state.deleted"
    deleted: Literal[True] = True
