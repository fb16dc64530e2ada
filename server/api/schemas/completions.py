"""/v1/completions: plain text or token ids in, text out."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field, PlainValidator, ValidationInfo, model_validator

from server.api.schemas.generation import UNSUPPORTED, GenerationRequest
from server.api.schemas.prompt import Unsupported
from server.api.schemas.usage import Usage
from server.api.schemas.validation import check_unicode, invalid

PromptInput = str | list[str] | list[int] | list[list[int]]
PROMPT_EXPECTED = (
    "should be a string, a list of strings, a list of token ids, or a list of such lists"
)


def as_prompts(value: Any, info: ValidationInfo) -> list[str] | list[list[int]]:
    """One prompt or many as a list of prompts, without a union's error for every member."""
    prompts = [value] if isinstance(value, str) or _are_ids(value) else value
    if not isinstance(prompts, list):
        raise invalid(PROMPT_EXPECTED)
    # A state may say all there is to go on from.
    if any(prompt in ("", []) for prompt in prompts) and not info.data.get("state_id"):
        raise invalid("should not be empty")
    if all(isinstance(prompt, str) for prompt in prompts):
        return [check_unicode(prompt) for prompt in prompts]
    if not all(_are_ids(prompt) for prompt in prompts):
        raise invalid(PROMPT_EXPECTED)
    return prompts


def as_one_prompt(value: Any, info: ValidationInfo) -> list[str] | list[list[int]]:
    """A string or token ids as a list of one prompt."""
    prompts = as_prompts(value, info)
    if len(prompts) != 1:
        raise invalid("should be one prompt")
    return prompts


def _are_ids(value: Any) -> bool:
    # type() rather than isinstance(): a bool is no token id.
    return isinstance(value, list) and all(type(item) is int for item in value)


class CompletionRequest(GenerationRequest):
    """The body of POST /v1/completions."""

    unsupported: ClassVar[Unsupported] = UNSUPPORTED | {
        "echo": lambda fields: bool(fields.get("echo")),
        "suffix": lambda fields: bool(fields.get("suffix")),
    }

    prompt: Annotated[
        list[str] | list[list[int]],
        PlainValidator(as_prompts, json_schema_input_type=PromptInput),
    ]
    max_tokens: int = Field(16, ge=1)

    @model_validator(mode="after")
    def _check_prompts(self) -> Self:
        if self.save_state and len(self.prompt) > 1:
            raise invalid("needs a single prompt", "save_state")
        return self


class CompletionChoice(BaseModel):
    """One generated text."""

    text: str
    index: int
    logprobs: None = None
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
