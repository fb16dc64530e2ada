"""What requests for generated text have in common: sampling fields, and fields we must refuse."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, FailFast, Field, model_validator

from server.api.schemas.prompt import Fields, Unsupported, unsupported_parameter
from server.api.schemas.structured import StructuredRequest
from server.api.schemas.validation import Text, invalid


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


StopString = Annotated[Text, Field(min_length=1)]
StopStrings = Annotated[
    list[StopString],
    Field(max_length=16),
    FailFast(),
    BeforeValidator(_as_list, json_schema_input_type=StopString | list[StopString]),
]
TokenId = Annotated[int, Field(ge=0)]


def _in_use(name: str, neutral: float = 0) -> Callable[[Fields], bool]:
    """Whether a field has a value other than null, the neutral one and empty ones."""
    return lambda fields: bool(fields.get(name)) and fields[name] != neutral


UNSUPPORTED: Unsupported = {
    "typical_p": _in_use("typical_p", neutral=1),
} | {
    name: _in_use(name)
    for name in (
        *("logprobs", "logit_bias", "min_p", "mirostat", "mirostat_mode"),
        *("dry_multiplier", "xtc_probability", "continue_final_message"),
        "guided_whitespace_pattern",
    )
}


class GenerationRequest(StructuredRequest):
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
            raise unsupported_parameter("best_of")
        if self.best_of is not None and self.best_of < self.n:
            raise invalid("should not be less than n", "best_of")
        return self

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with a chunk that has the usage."""
        options = self.stream_options
        return isinstance(options, dict) and options.get("include_usage") is True
