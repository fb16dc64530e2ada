"""What requests for generated text have in common: sampling fields, and fields we must refuse."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, model_validator
from pydantic_core import PydanticCustomError

from server.api.schemas.validation import Text, invalid

Fields = dict[str, Any]


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _other_than_text(fields: Fields) -> bool:
    wanted = fields.get("response_format")
    return wanted is not None and not (isinstance(wanted, dict) and wanted.get("type") == "text")


StopString = Annotated[Text, Field(min_length=1)]
StopStrings = Annotated[
    list[StopString],
    Field(max_length=16),
    FailFast(),
    BeforeValidator(_as_list, json_schema_input_type=StopString | list[StopString]),
]
TokenId = Annotated[int, Field(ge=0)]

# A field that would change the answer's meaning must not be ignored: name → is it in use?
Unsupported = dict[str, Callable[[Fields], bool]]


def _in_use(name: str, neutral: float = 0) -> Callable[[Fields], bool]:
    """Whether a field has a value other than null, the neutral one and empty ones."""
    return lambda fields: bool(fields.get(name)) and fields[name] != neutral


UNSUPPORTED: Unsupported = {
    "response_format": _other_than_text,
    "typical_p": _in_use("typical_p", neutral=1),
} | {
    name: _in_use(name)
    for name in (
        *("logprobs", "logit_bias", "min_p", "mirostat", "mirostat_mode"),
        *("dry_multiplier", "xtc_probability", "continue_final_message"),
        *("guided_json", "guided_regex", "guided_choice", "guided_grammar"),
        *("structured_outputs", "grammar", "json_schema"),
    )
}


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


class PromptRequest(BaseModel):
    """Fields of all that has a prompt. Null means the default; unknown fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    unsupported: ClassVar[Unsupported] = {}

    model: str = Field("", description="The id of a served model; the only one if absent.")
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
    prompt_cache_options: PromptCacheOptions = PromptCacheOptions()
    prompt_cache_retention: Literal["in_memory", "24h"] | None = Field(
        None, description="Without effect: states stay for as long as there is room for them."
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_unsupported(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        for name, is_used in cls.unsupported.items():
            if is_used(fields):
                raise _unsupported(name)
        return {name: value for name, value in fields.items() if value is not None}


class GenerationRequest(PromptRequest):
    """Fields of both completions and chat."""

    unsupported: ClassVar[Unsupported] = UNSUPPORTED

    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(
        None, ge=0, le=10, description="0 takes the most likely token; the server's if absent."
    )
    top_p: float | None = Field(
        None, gt=0, le=1, description="1 keeps all tokens; the server's if absent."
    )
    top_k: int = Field(0, ge=-1, description="0 or -1 keeps all tokens.")
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    repetition_penalty: float = Field(1.0, gt=0, le=10)
    penalty_decay: float = Field(
        1.0, ge=0, le=1, description="How much of a token's penalty is left after each token."
    )
    seed: int | None = Field(None, description="Taken modulo 2**64; random if absent.")
    stop: StopStrings = Field(default_factory=list)
    stop_token_ids: list[TokenId] = Field(default_factory=list, max_length=64)
    ignore_eos: bool = False
    n: int = Field(1, ge=1, description="How many choices to generate for each prompt.")
    best_of: int | None = Field(None, ge=1, description="Must equal n.")
    priority: int = Field(0, ge=0, le=1000, description="Requests of a lower one go first.")
    save_state: bool = Field(
        False, description="Keep the state after the answer as a named state; only with n = 1."
    )
    stream: bool = False
    stream_options: Any = Field(None, description="`include_usage` adds a last chunk with usage.")

    @model_validator(mode="after")
    def _check_save_state(self) -> Self:
        if self.save_state and self.n > 1:
            raise invalid("needs n = 1", "save_state")
        return self

    @model_validator(mode="after")
    def _check_best_of(self) -> Self:
        if self.best_of is not None and self.best_of > self.n:
            raise _unsupported("best_of")
        if self.best_of is not None and self.best_of < self.n:
            raise invalid("should not be less than n", "best_of")
        return self

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with a chunk that has the usage."""
        options = self.stream_options
        return isinstance(options, dict) and options.get("include_usage") is True


def _unsupported(name: str) -> PydanticCustomError:
    return PydanticCustomError(
        "unsupported_parameter", "is not supported yet by this server", {"param": name}
    )
