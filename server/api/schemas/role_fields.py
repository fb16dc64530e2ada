"""What RWKV-Runner and Ai00 say of the roles of a chat: their names, and how it begins."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from server.api.schemas.prompt import PromptRequest
from server.api.schemas.validation import Text, invalid

NAME_FIELDS = {"user": "user_name", "assistant": "assistant_name", "system": "system_name"}
"""Role → the field with its name, which is also a variable of the chat template."""

MAX_NAME = 64

GREETING = (
    ("user", "hi"),
    (
        "assistant",
        "Hi. I am your assistant and I will provide expert full response in full details. Please "
        "feel free to ask any question and I will always answer it.",
    ),
)
"""What `presystem` begins a chat with: turns that World models have learnt."""


def role_of(value: Any) -> Any:
    """A role in small letters, as clients of either write it; what tools say has two names."""
    if not isinstance(value, str):
        return value
    role = value.lower()
    return "tool" if role == "observation" else role


def _refuse_raw(value: Any) -> None:
    """Whitespace of messages is the chat template's, which RWKV-Runner can be told to leave."""
    if value:
        raise invalid("is not supported; use /v1/completions for text that stays as it is")


Role = Annotated[
    Literal["developer", "system", "user", "assistant", "tool", "function"],
    BeforeValidator(role_of),
]
NotRaw = Annotated[None, BeforeValidator(_refuse_raw, json_schema_input_type=bool | None)]


def _check_name(name: str) -> str:
    if not name.isprintable() or name != name.strip() or ":" in name:
        raise invalid("should be printable, without a colon, and without whitespace around it")
    if len(name) > MAX_NAME:
        raise invalid("should have at most 64 characters")
    return name


def _as_names(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise invalid("should be an object of roles and their names")
    names = {role_of(role): name for role, name in value.items()}
    if names.keys() - NAME_FIELDS:
        raise invalid("should have names of the roles user, assistant and system", "names")
    return {role: _check_name(name) for role, name in names.items()}


Name = Annotated[Text, AfterValidator(_check_name)]


def renamed_stops(stops: tuple[str, ...], names: dict[str, str]) -> tuple[str, ...]:
    """What begins somebody else's turn, where `names` of RoleFields say how that begins."""
    usual = {"User": names.get("user_name"), "System": names.get("system_name")}
    renamed = {f"\n\n{role}:": f"\n\n{name}:" for role, name in usual.items() if name}
    return tuple(renamed.get(stop, stop) for stop in stops)


class RoleFields(PromptRequest):
    """Names of roles, for chat templates that have variables for them."""

    allowed: ClassVar[frozenset[str]] = frozenset((*NAME_FIELDS.values(), "names", "presystem"))

    user_name: Name = Field("", description="What the user's turns begin with.")
    assistant_name: Name = Field("", description="What the assistant's begin with.")
    system_name: Name = Field("", description="What system messages begin with.")
    names: Annotated[dict[str, str], BeforeValidator(_as_names)] = Field(
        default_factory=dict, max_length=len(NAME_FIELDS), description="Ai00's: role → the same."
    )
    presystem: bool = Field(
        False, description="RWKV-Runner's: begin with a greeting that World models have learnt."
    )

    @model_validator(mode="after")
    def _take_names(self) -> Self:
        for role, name in self.names.items():
            field = NAME_FIELDS[role]
            if (given := getattr(self, field)) and given != name:
                raise invalid("differs from names, which says the same", field)
            setattr(self, field, name)
        return self

    @property
    def role_names(self) -> dict[str, str]:
        """Of the fields above those that are given."""
        found = {field: getattr(self, field) for field in NAME_FIELDS.values()}
        return {field: name for field, name in found.items() if name}
