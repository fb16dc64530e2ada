"""What requests for generated text have in common, and the fields that we must refuse."""

from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BeforeValidator, FailFast, Field, model_validator

from server.api.schemas.peer_fields import UNSUPPORTED
from server.api.schemas.prompt import Unsupported
from server.api.schemas.sampling import SamplingRequest, TokenId
from server.api.schemas.structured import StructuredRequest
from server.api.schemas.validation import Text, invalid


def as_stops(value: Any) -> Any:
    """Clients write "" and [""] where they mean none."""
    if value in ("", [""]):
        return []
    return [value] if isinstance(value, str) else value


MAX_STOP_CHARACTERS = 1024
"""Of a stop string: a stream holds back at most as much text."""

StopString = Annotated[Text, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]
StopStrings = Annotated[
    list[StopString],
    Field(max_length=16),
    FailFast(),
    BeforeValidator(as_stops, json_schema_input_type=StopString | list[StopString]),
]


NO_LIMIT = -1
"""As max_tokens: as many as the server lets anybody have."""


def check_max_tokens(value: int) -> int:
    """Of a limit that may be NO_LIMIT."""
    if value < 1 and value != NO_LIMIT:
        raise invalid("should be at least 1, or -1 for no limit")
    return value


MaxTokens = Annotated[int, AfterValidator(check_max_tokens)]


class GenerationRequest(SamplingRequest, StructuredRequest):
    """Fields of both completions and chat."""

    unsupported: ClassVar[Unsupported] = UNSUPPORTED
    takes_aliases: ClassVar[bool] = True

    max_tokens: MaxTokens | None = Field(
        None,
        description="Most tokens to generate; the server's default if absent, its limit if -1.",
    )
    stop: StopStrings = Field(
        default_factory=list,
        description="The text ends before any of these, each of at most "
        f"{MAX_STOP_CHARACTERS} characters; they do not cut a tool call that must be made.",
    )
    include_stop_str_in_output: bool = Field(
        False, description="Whether the text ends with the string of `stop` that ended it."
    )
    stop_token_ids: Annotated[list[TokenId], FailFast()] = Field(
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
    stream_options: Any = Field(
        None,
        description="`include_usage` adds a last chunk with usage, `continuous_usage_stats` the "
        "usage so far to all others.",
    )

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

    @property
    def continuous_usage(self) -> bool:
        """Whether every chunk of the stream has the usage so far."""
        options = self.stream_options
        return isinstance(options, dict) and options.get("continuous_usage_stats") is True

    def _check_stream_options(self) -> None:
        """For those whose options have an effect. Raises a validation error."""
        if self.stream_options is not None and not self.stream:
            raise invalid("needs stream to be true", "stream_options")
