"""/v1/completions: plain text or token ids in, text out."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationInfo,
    model_validator,
)

from server.api.schemas.bounds import MAX_PROMPTS, check_items
from server.api.schemas.generation import GenerationRequest, check_max_tokens
from server.api.schemas.peer_fields import UNSUPPORTED, IsUsed, in_use
from server.api.schemas.prompt import Unsupported
from server.api.schemas.usage import Usage
from server.api.schemas.validation import Text, check_unicode, invalid
from server.sampling.token_logprobs import MOST_TOP

PromptInput = str | list[str] | list[int] | list[list[int]]
PROMPT_EXPECTED = (
    "should be a string, a list of strings, a list of token ids, or a list of such lists"
)


def as_prompts(value: Any, info: ValidationInfo) -> list[str] | list[list[int]]:
    """One prompt or many as a list of prompts, none of which is empty."""
    prompts = _as_list_of_prompts(value)
    # A state may say all there is to go on from.
    if not all(prompts) and not info.data.get("state_id"):
        raise invalid("should not be empty")
    return prompts


def _as_list_of_prompts(value: Any) -> list[str] | list[list[int]]:
    """One prompt or many as a list of prompts, without a union's error for every member."""
    prompts = [value] if isinstance(value, str) or _are_ids(value) else value
    if not isinstance(prompts, list):
        raise invalid(PROMPT_EXPECTED)
    check_items(prompts, MAX_PROMPTS)
    if all(isinstance(prompt, str) for prompt in prompts):
        return [check_unicode(prompt) for prompt in prompts]
    if not all(_are_ids(prompt) for prompt in prompts):
        raise invalid(PROMPT_EXPECTED)
    return prompts


def as_one_prompt(value: Any, info: ValidationInfo) -> list[str] | list[list[int]]:
    """A string or token ids, not empty, as a list of one prompt."""
    prompts = as_prompts(value, info)
    if len(prompts) != 1:
        raise invalid("should be one prompt")
    return prompts


def _none_if_false(value: Any) -> Any:
    return None if value is False else value


def _are_ids(value: Any) -> bool:
    # type() rather than isinstance(): a bool is no token id.
    return isinstance(value, list) and all(type(item) is int for item in value)


def _check_max_tokens(value: int) -> int:
    return check_max_tokens(value) if value else value


def _instead_of_prompt(name: str) -> IsUsed:
    return lambda fields: bool(fields.get(name)) and not fields.get("prompt")


class CompletionRequest(GenerationRequest):
    """The body of POST /v1/completions."""

    unsupported: ClassVar[Unsupported] = (
        UNSUPPORTED
        | {name: in_use(name) for name in ("tools", "functions")}
        # A prompt under another name: without it a document would begin.
        | {name: _instead_of_prompt(name) for name in ("messages", "input")}
    )

    allowed: ClassVar[frozenset[str]] = frozenset(("suffix",))

    prompt: Annotated[
        list[str] | list[list[int]],
        PlainValidator(_as_list_of_prompts, json_schema_input_type=PromptInput),
    ] = Field(
        default_factory=lambda: [""],
        description="Text or token ids, or a list of either: a choice for each. Absent or empty: "
        "the beginning of a document.",
    )
    max_tokens: Annotated[int, AfterValidator(_check_max_tokens)] = Field(
        16, description="With 0 the prompt is read, and no more; the server's limit if -1."
    )
    suffix: Text = Field(
        "",
        description="What follows the text, which is completed up to it; for models that can fill "
        "in the middle. Empty: nothing in particular.",
    )
    echo: bool = Field(False, description="Begin the text, and the logprobs, with the prompt.")
    logprobs: Annotated[int | None, BeforeValidator(_none_if_false)] = Field(
        None,
        ge=0,
        le=MOST_TOP,
        description="The log-probability of each token, and so many most likely tokens beside it.",
    )

    @model_validator(mode="after")
    def _check_prompts(self) -> Self:
        if self.save_state and len(self.prompt) > 1:
            raise invalid("needs a single prompt", "save_state")
        if self.suffix and self.echo and self.logprobs is not None:
            # Those of a prompt would be of the suffix, too, which is before it.
            raise invalid("cannot be used with echo and a suffix", "logprobs")
        self._check_stream_options()
        return self

    @property
    def wanted_logprobs(self) -> int:
        """See GenerationRequest."""
        return -1 if self.logprobs is None else self.logprobs

    @property
    def wanted_prompt_logprobs(self) -> int:
        """See GenerationRequest."""
        return self.wanted_logprobs if self.echo else -1


class CompletionLogprobs(BaseModel):
    """Parallel lists, one item for each token; None for the first token of a prompt."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(BaseModel):
    """One generated text."""

    text: str
    index: int
    logprobs: CompletionLogprobs | None = None
    finish_reason: Literal["stop", "length"]


class Completion(BaseModel):
    """The answer of POST /v1/completions."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: Usage
    state_id: str | None = None
    """The state after the answer; absent unless it was to be saved."""
