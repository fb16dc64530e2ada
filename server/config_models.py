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
        description="A checkpoint file or folder, a short name or hf:OWNER/NAME[/FILE]; empty: the "
        "embedded model.",
    )
    tokenizer: str = Field(
        "",
        description="A tokenizer.json, `world` or `bytes`; empty finds it beside the checkpoint.",
    )
    dtype: WeightChoice = Field(
        "auto",
        description="How weights are kept; auto: int8 from 50 M parameters on, else as stored.",
    )
    reasoning: ReasoningChoice = Field(
        "auto",
        description="Whether it reasons before it answers: unless a request says no, when one asks "
        "for it, or never; auto: when asked, if its chat template or its name says that it can.",
    )
    fill_in_middle: FillChoice = Field(
        "auto",
        description="Whether it can complete the text between a prefix and a suffix; auto: if its "
        "name says RWKV-7 G1c or later.",
    )
    aliases: Annotated[list[ModelName], FailFast()] = Field(
        default_factory=list,
        max_length=MAX_NAMES,
        description="Further names that requests may use.",
    )
    states: Annotated[dict[StateName, str], BeforeValidator(_check_count)] = Field(
        default_factory=dict,
        max_length=MAX_NAMES,
        description="Files with tuned initial states by name; a request names ID:NAME.",
    )
    adapters: Annotated[list[AdapterText], FailFast()] = Field(
        default_factory=list,
        max_length=MAX_NAMES,
        description="Adapters to merge: FILE, a PEFT folder, or FILE:ALPHA for a LoRA that does "
        "not say its alpha.",
    )
    reranker: str = Field(
        "",
        description="The reranker of an embedding model, a file or hf:OWNER/NAME/FILE, which "
        "/v1/rerank and /v1/score use.",
    )


class ModelSettings(ModelOptions):
    """The default model, which requests get that do not name one."""

    name: ModelName | Literal[""] = Field(
        "", description="The id in the API; empty takes the name of file or folder."
    )
    directories: list[str] = Field(
        default_factory=list,
        description="Folders whose checkpoints can be loaded through /v1/admin.",
    )


class NamedModelSettings(ModelOptions):
    """A further model; its id is the key of its table."""

    workers: int = Field(0, ge=0, le=64, description="Worker processes; 0 takes engine.workers.")
    preload: bool = Field(
        True, description="Load it at the start; if not, /v1/admin/models/load does."
    )
