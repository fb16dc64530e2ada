"""What all requests with a prompt have in common: model, cache, and fields we must refuse."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from server.api.schemas.peer_fields import ADVICE, take_aliases
from server.api.schemas.validation import Text, invalid
from server.api.schemas.whole_numbers import whole_numbers

Fields = dict[str, Any]

# A field that would change the answer's meaning must not be ignored: name → is it in use?
Unsupported = dict[str, Callable[[Fields], bool]]


NO_STATE = "00000000-0000-0000-0000-000000000000"
"""What Ai00's clients write for none."""


def _check_state(value: Any) -> Any:
    if value is not None and not isinstance(value, str):
        raise invalid("should be the id or name of a state; import one with /v1/states/import")
    return value


class PromptCacheOptions(BaseModel):
    """Which states a request leaves behind."""

    model_config = ConfigDict(strict=True, extra="ignore")

    mode: Literal["implicit", "explicit"] = Field(
        "implicit",
        description="`explicit`: only at `prompt_cache_breakpoint`s; without one, none is used.",
    )
    ttl: Literal["30m"] = Field(
        "30m", description="No promise: states stay for as long as there is room for them."
    )


class ModelRequest(BaseModel):
    """A request to a model. Null means the default; unknown fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    unsupported: ClassVar[Unsupported] = {}
    allowed: ClassVar[frozenset[str]] = frozenset()
    """Of `unsupported` what this kind of request takes all the same."""
    takes_aliases: ClassVar[bool] = False
    """Whether other servers' names of fields are known (ALIASES)."""
    advice: ClassVar[str] = "leave it out"
    """What to do about a field in use that is not supported, if nothing better is known."""

    model: str = Field("", description="Id of a served model; the default model if absent.")

    @model_validator(mode="before")
    @classmethod
    def _refuse_unsupported(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        for name, is_used in cls.unsupported.items():
            if name not in cls.allowed and is_used(fields):
                raise unsupported_parameter(name, ADVICE.get(name, cls.advice))
        given = {name: value for name, value in fields.items() if value is not None}
        if cls.takes_aliases:
            given, wrong = take_aliases(given, cls.model_fields)
            if wrong:
                raise invalid("differs from the field whose other name it is", wrong)
        return whole_numbers(cls, given)


class PromptRequest(ModelRequest):
    """Fields of all that has a prompt."""

    state_id: Text = Field("", description="The named state that the prompt goes on from.")
    state: Annotated[Text, BeforeValidator(_check_state)] = Field(
        "",
        max_length=256,
        description="Ai00's and RWKV-Runner's: a state_id, or the name of a tuned initial state, "
        "as MODEL:STATE in `model`.",
    )
    no_cache: bool = Field(
        False, description="Neither begin with a cached state nor leave one behind."
    )
    cache_prompt: bool = Field(True, description="llama.cpp's: false is no_cache.")
    cache_salt: Text = Field(
        "", max_length=256, description="States are shared only by requests with the same one."
    )
    prompt_cache_key: Text = Field(
        "", max_length=256, description="Requests with the same one go to the same worker."
    )
    prompt_cache_options: PromptCacheOptions = Field(
        PromptCacheOptions(), description="Where states are kept."
    )
    prompt_cache_retention: Literal["in_memory", "24h"] | None = Field(
        None, description="Without effect: states stay for as long as there is room for them."
    )

    @model_validator(mode="after")
    def _take_state(self) -> Self:
        if self.state.startswith("state_"):
            if self.state_id not in ("", self.state):
                raise invalid("differs from state_id, which says the same", "state")
            self.state_id = self.state
        elif self.state not in ("", NO_STATE) and not self.model.endswith(f":{self.state}"):
            self.model = f"{self.model}:{self.state}"
        return self

    @model_validator(mode="after")
    def _take_cache_prompt(self) -> Self:
        if not self.cache_prompt:
            self.no_cache = True
        return self


def unsupported_parameter(name: str, advice: str) -> PydanticCustomError:
    """The error of a field that is in use and that the server does not honour."""
    context = {"param": name, "advice": advice}
    message = "is not supported by this server; {advice}"
    return PydanticCustomError("unsupported_parameter", message, context)
