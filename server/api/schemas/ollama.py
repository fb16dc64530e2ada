"""/api: requests and answers of Ollama's clients."""

from typing import Annotated, Any, ClassVar, Literal, LiteralString, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, model_validator

from server.api.schemas.bounds import MAX_CALLS, MAX_MESSAGES, MAX_PROMPTS, MAX_STRINGS, at_most
from server.api.schemas.chat import Lenient
from server.api.schemas.generation import GenerationRequest
from server.api.schemas.peer_fields import ADVICE, ALIASES, UNSUPPORTED, IsUsed, other_than
from server.api.schemas.prompt import (
    ModelRequest,
    PromptRequest,
    Unsupported,
    unsupported_parameter,
)
from server.api.schemas.role_fields import role_of
from server.api.schemas.structured import Schema
from server.api.schemas.validation import Text, invalid


def _without_tag(name: Any) -> Any:
    """There are no tags here: a name that has the usual one means the model."""
    return name.removesuffix(":latest") if isinstance(name, str) else name


Name = Annotated[str, BeforeValidator(_without_tag)]


class Function(Lenient):
    """What the assistant called."""

    name: Text
    arguments: dict[str, Any] = Field(default_factory=dict)


class ToolCall(Lenient):
    """One call of a tool."""

    function: Function


def _refuse(kind: Any, why: LiteralString) -> BeforeValidator:
    """For a field that may only be empty."""

    def check(value: Any) -> None:
        if value:
            raise invalid(why)

    return BeforeValidator(check, json_schema_input_type=kind | None)


NoImages = Annotated[None, _refuse(list[str], "should be empty: the models read text")]
NoTemplate = Annotated[
    None, _refuse(str, "is not supported: the model has its own; `raw` uses none")
]
NoContext = Annotated[
    None, _refuse(list[int], "is not supported: send the conversation to /api/chat")
]


class Message(Lenient):
    """A message of a conversation."""

    role: Annotated[Literal["system", "user", "assistant", "tool"], BeforeValidator(role_of)]
    content: Text | None = None
    thinking: Text | None = None
    images: NoImages = None
    tool_calls: Annotated[list[ToolCall] | None, FailFast(), Field(max_length=MAX_CALLS)] = None
    tool_name: Text | None = None


class Options(BaseModel):
    """Parameters of a generation, also those of chats. Those of how a model is run are ignored."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    num_predict: int | None = Field(None, ge=-2, description="0 and below: as many as may be.")
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repeat_penalty: float | None = Field(None, description="Of tokens that were generated.")
    repeat_last_n: int | None = Field(None, description="Only of the last so many; -1: of all.")
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    mirostat: int | None = Field(None, description="0 or 2.")
    mirostat_tau: float | None = None
    mirostat_eta: float | None = None
    seed: int | None = None
    stop: Annotated[
        Annotated[list[Text], Field(max_length=MAX_STRINGS)] | Text | None,
        at_most(MAX_STRINGS),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_what_is_no_option(cls, fields: Any) -> Any:
        for name in ("n", "n_cmpl", "best_of", "state_id", "state", "save_state", "suffix"):
            value = fields.get(name) if isinstance(fields, dict) else None
            if value is True or value not in (None, 1, False, ""):
                raise unsupported_parameter(f"options.{name}", ADVICE.get(name, "leave it out"))
        return fields


_OWN = PromptRequest.model_fields.keys() - {"state_id", "state"} | {
    *("stream", "logprobs", "top_logprobs", "suffix", "template"),
}
"""Fields of a chat that requests of Ollama's clients have as they are."""


def _is_given(name: str) -> IsUsed:
    """Whether a field has a value; 0 is one, as a temperature."""
    return lambda fields: fields.get(name) not in (None, "", [], {}) and fields[name] is not False


class OllamaRequest(PromptRequest):
    """What both kinds of generation have in common."""

    unsupported: ClassVar[Unsupported] = {
        **{name: _is_given(name) for name in GenerationRequest.model_fields.keys() - _OWN},
        **{name: is_used for name, is_used in UNSUPPORTED.items() if name not in _OWN},
        **{name: other_than(name) for name in ALIASES},
    }
    """What belongs in options, or nowhere."""
    advice: ClassVar[str] = "put it into options"

    model: Name = Field("", description="Id of a served model; the default model if absent.")
    stream: bool = True
    format: Literal["", "json"] | Schema | None = None
    options: Options = Options()
    think: bool | Literal["low", "medium", "high", "max"] | None = Field(
        None, description="Whether, or how much, to think; models that do not think ignore it."
    )
    keep_alive: Any = Field(None, description="Without effect: models stay until unloaded.")
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=20)


class OllamaChatRequest(OllamaRequest):
    """The body of POST /api/chat."""

    messages: Annotated[list[Message], FailFast()] = Field(
        default_factory=list, max_length=MAX_MESSAGES
    )
    tools: list[Any] = Field(default_factory=list, max_length=MAX_STRINGS)


class OllamaGenerateRequest(OllamaRequest):
    """The body of POST /api/generate."""

    prompt: Text = ""
    system: Text = ""
    raw: bool = Field(False, description="Go on from the prompt as it is.")
    images: NoImages = None
    suffix: Text = Field(
        "", description="What follows the text, which is completed up to it, also without `raw`."
    )
    context: NoContext = None
    template: NoTemplate = None

    @model_validator(mode="after")
    def _check_suffix(self) -> Self:
        if self.suffix and self.system:
            raise invalid("cannot be used with a suffix: that is no conversation", "system")
        return self


class OllamaEmbedRequest(ModelRequest):
    """The body of POST /api/embed, and of the older /api/embeddings with `prompt`."""

    model: Name = ""
    input: Annotated[
        str | Annotated[list[str], Field(max_length=MAX_PROMPTS)] | None,
        at_most(MAX_PROMPTS),
    ] = None
    prompt: str | None = Field(None, description="Of /api/embeddings.")
    dimensions: int | None = Field(None, ge=1)


class OllamaShowRequest(ModelRequest):
    """The body of POST /api/show."""

    model: Name = ""
    name: Name = Field("", description="Older name of `model`.")


class OllamaDetails(BaseModel):
    """What kind of model it is."""

    parent_model: str = ""
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class OllamaModel(BaseModel):
    """A model in a list."""

    name: str
    model: str
    modified_at: str
    size: int
    """Of its files, in bytes; 0 for the embedded model."""
    digest: str
    details: OllamaDetails


class OllamaModelList(BaseModel):
    """All models that are known, or all that are loaded."""

    models: list[OllamaModel]


class OllamaShown(BaseModel):
    """All about a model."""

    modelfile: str = ""
    parameters: str = ""
    template: str
    details: OllamaDetails
    model_info: dict[str, Any]
    capabilities: list[str]
    modified_at: str


class OllamaVersion(BaseModel):
    """Which API is spoken: the number of Ollama's version, since clients compare it."""

    version: str


class OllamaAnswer(BaseModel):
    """A whole answer, or the last line of a stream; durations are in nanoseconds."""

    model: str
    created_at: str
    message: dict[str, Any] | None = None
    response: str | None = None
    thinking: str | None = None
    logprobs: list[dict[str, Any]] | None = None
    done: bool
    done_reason: Literal["stop", "length", "load", "unload"]
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None


class OllamaEmbeddings(BaseModel):
    """Vectors of length 1, one for each input."""

    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int
    prompt_eval_count: int

    @classmethod
    def of_nothing(cls, model: str) -> Self:
        """Of no input: no vectors."""
        counts = {"total_duration": 0, "load_duration": 0, "prompt_eval_count": 0}
        return cls(model=model, embeddings=[], **counts)


class OllamaErrorResponse(BaseModel):
    """What went wrong."""

    error: str


OLLAMA_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": OllamaErrorResponse, "description": "The request was refused"},
    "5XX": {"model": OllamaErrorResponse, "description": "The server failed or is not ready"},
}
