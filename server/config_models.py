"""The settings of models: what can be said of one, and of the one and the others."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from server.model_names import AdapterText, ModelName, StateName

WeightChoice = Literal["auto", "float32", "bfloat16", "int8", "int4"]
ReasoningChoice = Literal["auto", "on", "off"]


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class ModelOptions(Section):
    """What can be said of any model."""

    path: str = Field(
        "",
        description="A checkpoint file or folder, or hf:OWNER/NAME[/FILE]; empty is the embedded "
        "model.",
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
        description="Whether it thinks before it answers; auto: if its chat template or its name "
        "says that it can, then when a request asks for it.",
    )
    aliases: list[ModelName] = Field(
        default_factory=list, description="Further names that requests may use."
    )
    states: dict[StateName, str] = Field(
        default_factory=dict,
        description="Files with tuned initial states by name; a request names ID:NAME.",
    )
    adapters: list[AdapterText] = Field(
        default_factory=list,
        description="Adapters to merge: FILE, a PEFT folder, or FILE:ALPHA for a LoRA that does "
        "not say its alpha.",
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
