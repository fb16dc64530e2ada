"""What requests with messages can say to the chat template besides the messages."""

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, model_validator

from server.api.schemas.reasoning import in_our_fields
from server.api.schemas.role_fields import NAME_FIELDS, RoleFields
from server.api.schemas.tools import Tools, check_json
from server.api.schemas.validation import invalid

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

MOST_KWARGS = 32
MOST_DOCUMENTS = 128
MOST_CHARACTERS = 1 << 20
"""Of the JSON of either."""

_RESERVED = frozenset(
    ("messages", "tools", "documents", "add_generation_prompt", "continue_final_message")
) | {"bos_token", "eos_token", "chat_template", "conversation", "tokenize", *NAME_FIELDS.values()}


def _check_kwargs(value: Any) -> dict[str, Any]:
    at = "chat_template_kwargs"
    if not isinstance(value, dict) or len(value) > MOST_KWARGS:
        raise invalid("should be an object of at most 32 values", at)
    if reserved := sorted(_RESERVED & value.keys()):
        raise invalid("is not a variable of a request's own", f"{at}.{reserved[0]}")
    if not isinstance(value.get("enable_thinking"), bool | None):
        raise invalid("should be true or false", f"{at}.enable_thinking")
    if not isinstance(value.get("reasoning_effort"), str | None):
        raise invalid("should be a string", f"{at}.reasoning_effort")
    if check_json(value, at) > MOST_CHARACTERS:
        raise invalid("should be at most 1 MiB of JSON", at)
    return value


def _check_documents(value: Any) -> list[dict[str, Any]]:
    at = "documents"
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise invalid("should be a list of objects", at)
    if len(value) > MOST_DOCUMENTS or check_json(value, at) > MOST_CHARACTERS:
        raise invalid("should be at most 128 documents and 1 MiB of JSON", at)
    return value


class TemplateFields(RoleFields):
    """Tools, thinking, documents, and what else a template has variables for."""

    tools: Tools = Field(default_factory=list, description="Functions that the model may call.")
    enable_thinking: bool | None = Field(
        None, description="Whether to think before the answer; as the model does if absent."
    )
    reasoning_effort: Effort | None = Field(
        None, description="How much to think; models that do not think ignore it."
    )
    documents: Annotated[
        list[dict[str, Any]],
        PlainValidator(_check_documents, json_schema_input_type=list[dict[str, Any]]),
    ] = Field(default_factory=list, description="For chat templates that have documents.")
    chat_template_kwargs: Annotated[
        dict[str, Any], PlainValidator(_check_kwargs, json_schema_input_type=dict[str, Any])
    ] = Field(default_factory=dict, description="Further variables of the chat template.")

    @model_validator(mode="before")
    @classmethod
    def _take_reasoning(cls, fields: Any) -> Any:
        return in_our_fields(fields) if isinstance(fields, dict) else fields

    @property
    def shown_tools(self) -> list[dict[str, Any]]:
        """The tools that the model is told of."""
        return self.tools
