"""/completion and /infill: requests as llama.cpp's server takes them, and its answers."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, model_validator

from server.api.schemas.bounds import MAX_STRINGS
from server.api.schemas.completions import PromptInput
from server.api.schemas.embeddings import as_inputs
from server.api.schemas.peer_fields import in_use
from server.api.schemas.prompt import ModelRequest, Unsupported
from server.api.schemas.validation import Text, invalid
from server.sampling.token_logprobs import MOST_TOP

MAX_EXTRA = 256
"""Parts of context from elsewhere; llama.vim sends 16."""

SAMPLERS = ("penalties", "dry", "top_n_sigma", "temperature", "top_k", "typ_p", "top_p", "min_p")
"""Those of llama.cpp that are here, in the order in which they act; then comes xtc."""
_ORDER = {name: place for place, name in enumerate((*SAMPLERS, "xtc"))}


def _prompt_of(value: Any) -> Any:
    """A prompt as an object is text and what only other models read."""
    if isinstance(value, dict) and not value.get("multimodal_data"):
        return value.get("prompt_string", value)
    return value


class NativeRequest(ModelRequest):
    """The body of POST /completion. What is not here is as on /v1/completions."""

    model_config = ConfigDict(extra="allow")

    unsupported: ClassVar[Unsupported] = {
        name: in_use(name)
        for name in ("echo", "best_of", "suffix", "save_state", "post_sampling_probs")
    }
    advice: ClassVar[str] = "use /v1/completions"

    prompt: Annotated[Any, BeforeValidator(_prompt_of)] = Field(
        "", description="As on /v1/completions, or an object with `prompt_string`."
    )
    stream: bool = Field(False, description="Send the answer as it comes.")
    n_probs: int = Field(
        0, ge=0, le=MOST_TOP, description="Log-probabilities of so many most likely tokens."
    )
    response_fields: Annotated[list[Text] | None, Field(max_length=MAX_STRINGS)] = Field(
        None, description="Only these of the answer; a/b is b of a. Not with a stream."
    )
    return_tokens: bool = Field(False, description="Also the ids of what was generated.")
    samplers: Annotated[list[Text] | None, Field(max_length=MAX_STRINGS)] = Field(
        None,
        description="What is not in this list is off. In the order in which they act here: "
        f"{', '.join(_ORDER)}.",
    )
    n_indent: int = Field(
        0,
        ge=0,
        description="Ends before a line, not blank, that is indented less. Not with a stream.",
    )
    t_max_predict_ms: float = Field(
        0,
        description="Ends so long after the first token if there is a line break; 0 or less: "
        "never. Not with a stream.",
    )
    t_max_prompt_ms: Any = Field(None, description="Without effect, as there.")

    @model_validator(mode="after")
    def _check_stream(self) -> Self:
        names = ("response_fields", "n_indent", "t_max_predict_ms")
        for name in names if self.stream else ():
            value = getattr(self, name)
            if value is not None and (isinstance(value, list) or value > 0):
                raise invalid("cannot be used with a stream", name)
        return self

    @model_validator(mode="after")
    def _check_samplers(self) -> Self:
        names = [name for name in self.samplers or () if not self._is_without_effect(name)]
        if any(name not in _ORDER for name in names):
            raise invalid("should be of those in docs/api.md", "samplers")
        # A temperature of 0 or 1 may come anywhere.
        if (self.model_extra or {}).get("temperature") in (0, 1):
            names = [name for name in names if name != "temperature"]
        if names != sorted(set(names), key=_ORDER.__getitem__):
            raise invalid("should be in the order of docs/api.md, each once", "samplers")
        return self

    def _is_without_effect(self, sampler: str) -> bool:
        del sampler
        return False

    @property
    def probabilities(self) -> int:
        """How many log-probabilities each token is to have; 0: none. They have two names."""
        return self.n_probs or (self.model_extra or {}).get("logprobs") or 0

    def off(self) -> dict[str, Any]:
        """Fields of /v1/completions that switch off what `samplers` has not."""
        listed = self.samplers
        if listed is None:
            return {}
        neutral: dict[str, dict[str, Any]] = {
            "penalties": {
                **dict.fromkeys(("presence_penalty", "frequency_penalty"), 0.0),
                "repetition_penalty": 1.0,
            },
            "dry": {"dry_multiplier": 0.0},
            "top_n_sigma": {"top_n_sigma": 0.0},
            "temperature": {"temperature": 1.0},
            "top_k": {"top_k": 0},
            "typ_p": {"typical_p": 1.0},
            "top_p": {"top_p": 1.0},
            "min_p": {"min_p": 0.0},
            "xtc": {"xtc_probability": 0.0},
        }
        return {
            field: value
            for name, fields in neutral.items()
            if name not in listed
            for field, value in fields.items()
        }


class Extra(BaseModel):
    """Context from elsewhere."""

    model_config = ConfigDict(strict=True, extra="ignore")

    filename: Text = ""
    text: Text


class InfillRequest(NativeRequest):
    """The body of POST /infill. What is not here is as on /v1/completions."""

    prompt: Text = Field("", description="What follows `input_prefix`, such as the line so far.")
    input_prefix: Text = Field(description="What is before the gap.")
    input_suffix: Text = Field(description="What is after the gap.")
    input_extra: list[Extra] = Field(
        default_factory=list,
        max_length=MAX_EXTRA,
        description="Context from elsewhere: `text`, and `filename`. It comes first, and is read "
        "once for as long as it stays the same.",
    )

    def _is_without_effect(self, sampler: str) -> bool:
        """What llama.cpp's `infill` is for, the end of a middle, models have learnt here."""
        return sampler == "infill"


class NativeEmbeddingRequest(ModelRequest):
    """The body of POST /embedding."""

    content: Annotated[Any, PlainValidator(as_inputs, json_schema_input_type=PromptInput)] = Field(
        description="Text or token ids, or a list of either; none empty."
    )
    embd_normalize: Literal[-1, 2] = Field(2, description="2: to length 1, -1: as it is.")


class NativeEmbedding(BaseModel):
    """The vector of one input."""

    index: int
    embedding: list[list[float]]


class NativeAnswer(BaseModel):
    """One result, or the last event of a stream."""

    index: int
    content: str
    tokens: list[int] = Field(default_factory=list)
    id_slot: int = -1
    stop: bool = True
    model: str
    tokens_predicted: int
    tokens_evaluated: int
    generation_settings: dict[str, Any]
    has_new_line: bool
    truncated: bool = False
    stop_type: str
    stopping_word: str
    tokens_cached: int
    timings: dict[str, int | float]


class Properties(BaseModel):
    """What the server serves, for clients of llama.cpp's server."""

    default_generation_settings: dict[str, Any]
    total_slots: int
    model_alias: str
    chat_template: str
    fill_in_middle: bool
    """Whether /infill works with the default model."""
    modalities: dict[str, bool]
    build_info: str
    is_sleeping: bool = False
