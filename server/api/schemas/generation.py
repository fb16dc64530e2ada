"""What requests for generated text have in common, and the fields that we must refuse."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, FailFast, Field, model_validator

from server.api.schemas.prompt import Fields, Unsupported
from server.api.schemas.sampling import SamplingRequest, TokenId
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


def in_use(name: str) -> Callable[[Fields], bool]:
    """For `unsupported`: whether a field has a value other than null, 0 and empty ones."""
    return lambda fields: bool(fields.get(name))


UNSUPPORTED: Unsupported = {
    name: in_use(name)
    for name in (
        *("prompt_logprobs", "return_token_ids", "return_tokens_as_token_ids"),
        "guided_whitespace_pattern",
    )
}


class GenerationRequest(SamplingRequest, StructuredRequest):
    """Fields of both completions and chat."""

    unsupported: ClassVar[Unsupported] = UNSUPPORTED

    max_tokens: int | None = Field(
        None, ge=1, description="Most tokens to generate; the server's default if absent."
    )
    stop: StopStrings = Field(
        default_factory=list, description="The text ends before any of these."
    )
    stop_token_ids: list[TokenId] = Field(
        default_factory=list, max_length=64, description="Tokens that end the text."
    )
    ignore_eos: bool = Field(False, description="Go on after the end of a document.")
    n: int = Field(1, ge=1, description="How many choices to generate for each prompt.")
    best_of: int | None = Field(
        None,
        ge=1,
        description="How many choices to generate, of which the n with the highest mean "
        "log-probability of a token are returned; n if absent. Not with a stream.",
    )
    priority: int = Field(0, ge=0, le=1000, description="Requests of a lower one go first.")
    save_state: bool = Field(
        False, description="Keep the state after the answer as a named state; only with n = 1."
    )
    stream: bool = Field(False, description="Send the answer as it comes.")
    stream_options: Any = Field(None, description="`include_usage` adds a last chunk with usage.")

    @model_validator(mode="after")
    def _check_save_state(self) -> Self:
        if self.save_state and self.choices > 1:
            raise invalid("needs n = 1, and no best_of", "save_state")
        return self

    @model_validator(mode="after")
    def _check_best_of(self) -> Self:
        if self.choices < self.n:
            raise invalid("should not be less than n", "best_of")
        if self.stream and self.choices > self.n:
            raise invalid("should equal n in a stream: the best are known at the end", "best_of")
        return self

    @property
    def choices(self) -> int:
        """How many are generated for each prompt; the n best are returned."""
        return self.n if self.best_of is None else self.best_of

    @property
    def wanted_logprobs(self) -> int:
        """How many most likely tokens are to come with each token; −1: not even its logprob."""
        return -1

    @property
    def wanted_prompt_logprobs(self) -> int:
        """The same for the tokens of the prompt."""
        return -1

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with a chunk that has the usage."""
        options = self.stream_options
        return isinstance(options, dict) and options.get("include_usage") is True
