"""The list of models."""

from typing import Literal

from pydantic import BaseModel


class Model(BaseModel):
    """A served model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "rwkv-server"
    type: Literal["embedding"] | None = None
    """What it is, if that is not a language model; absent of one that is not loaded, too."""
    context_window: int | None = None
    """For how many tokens it was trained, which is no limit; absent where that is not known."""
    context_length: int | None = None
    max_model_len: int | None = None
    """Two other names of the same."""


class AnthropicModel(BaseModel):
    """The same for Anthropic's clients."""

    id: str
    type: Literal["model"] = "model"
    display_name: str
    created_at: str


class AnthropicModelList(BaseModel):
    """All served models, in one page."""

    data: list[AnthropicModel]
    has_more: Literal[False] = False
    first_id: str
    last_id: str


class ModelList(BaseModel):
    """All served models."""

    object: Literal["list"] = "list"
    data: list[Model]
