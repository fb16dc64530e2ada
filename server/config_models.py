"""The settings of models: what can be said of one, and of the one and the others."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field

from server.model_names import AdapterText, ModelName, StateName

WeightChoice = Literal["auto", "float32", "bfloat16", "int8", "int4"]
ReasoningChoice = Literal["auto", "on", "asked", "off"]
FillChoice = Literal["auto", "on", "off"]

MAX_NAMES = 10_000
"""Of aliases, states or adapters of a model."""


def _check_count(value: Any) -> Any:
    """Before each wrong name would be an error of its own."""
    if isinstance(value, dict) and len(value) > MAX_NAMES:
        raise ValueError(f"should have at most {MAX_NAMES} names")
    return value


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class ModelOptions(Section):
    """What can be said of any model."""

    path: str = Field(
        "",
        description="Checkpoint file or folder, short name, or hf:OWNER/NAME[/FILE]; empty uses "
        "the embedded model.",
    )
    tokenizer: str = Field(
        "",
        description="A tokenizer.json, `world` or `bytes`; empty finds the tokenizer next to the "
        "checkpoint.",
    )
    dtype: WeightChoice = Field(
        "auto",
        description="Weight type; auto is int8 for models of at least 50 M parameters and the "
        "stored type for smaller ones.",
    )
    reasoning: ReasoningChoice = Field(
        "auto",
        description="When the model reasons before it replies: on unless a request turns it off, "
        "only when a request asks, or never; auto is asked if the chat template or "
        "the model's name indicates reasoning, else off.",
    )
    fill_in_middle: FillChoice = Field(
        "auto",
        description="Whether the model can complete text between a prefix and a suffix; auto is "
        "on if the name indicates RWKV-7 G1c or later.",
    )
    aliases: Annotated[list[ModelName], FailFast()] = Field(
        default_factory=list,
        max_length=MAX_NAMES,
        description="Additional model ids that requests may use.",
    )
    states: Annotated[dict[StateName, str], BeforeValidator(_check_count)] = Field(
        default_factory=dict,
        max_length=MAX_NAMES,
        description="Tuned initial states: a file for each name; requests select one as "
        "MODEL:NAME.",
    )
    adapters: Annotated[list[AdapterText], FailFast()] = Field(
        default_factory=list,
        max_length=MAX_NAMES,
        description="Adapters merged at load: FILE, a PEFT folder, or FILE:ALPHA for a LoRA file "
        "without its alpha.",
    )
    reranker: str = Field(
        "",
        description="Reranker of an embedding model, FILE or hf:OWNER/NAME/FILE, used by "
        "/v1/rerank and /v1/score.",
    )


class ModelSettings(ModelOptions):
    """The default model, which requests get that do not name one."""

    name: ModelName | Literal[""] = Field(
        "", description="Model id in the API; empty uses the name of the file or folder."
    )
    directories: list[str] = Field(
        default_factory=list,
        description="Folders whose checkpoints can be loaded through /v1/admin.",
    )


class NamedModelSettings(ModelOptions):
    """A further model; its id is the key of its table."""

    workers: int = Field(
        0, ge=0, le=64, description="Number of worker processes; 0 uses engine.workers."
    )
    preload: bool = Field(
        True, description="Load the model at startup; false loads it on /v1/admin/models/load."
    )
