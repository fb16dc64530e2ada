"""What all requests with a prompt have in common: model, cache, and fields we must refuse."""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from server.api.schemas.validation import Text

Fields = dict[str, Any]

# A field that would change the answer's meaning must not be ignored: name → is it in use?
Unsupported = dict[str, Callable[[Fields], bool]]


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

    model: str = Field("", description="The id of a served model; the only one if absent.")

    @model_validator(mode="before")
    @classmethod
    def _refuse_unsupported(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        for name, is_used in cls.unsupported.items():
            if is_used(fields):
                raise unsupported_parameter(name)
        return {name: value for name, value in fields.items() if value is not None}


class PromptRequest(ModelRequest):
    """Fields of all that has a prompt."""

    state_id: Text = Field("", description="The named state that the prompt goes on from.")
    no_cache: bool = Field(
        False, description="Neither begin with a cached state nor leave one behind."
    )
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


def unsupported_parameter(name: str) -> PydanticCustomError:
    """The error of a field that is in use and that the server does not honour."""
    return PydanticCustomError(
        "unsupported_parameter", "is not supported yet by this server", {"param": name}
    )
