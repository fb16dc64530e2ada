"""/v1/admin: what the operator asks of models, and what is said of them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from server.config_models import ModelOptions
from server.model_names import ModelName
from server.registry.hosted_model import ModelState


class ModelRequest(BaseModel):
    """Which model."""

    model_config = ConfigDict(strict=True, extra="forbid")

    id: ModelName


class LoadRequest(ModelOptions):
    """Which model, and what is to be other than in the settings; a new one needs a path."""

    id: ModelName
    workers: int = Field(0, ge=0, le=64, description="Worker processes; 0 takes engine.workers.")

    @property
    def changes(self) -> dict[str, Any]:
        """The options that were given."""
        return self.model_dump(exclude={"id"}, exclude_unset=True)


class AdminModel(BaseModel):
    """A model that the server knows."""

    id: str
    object: Literal["admin.model"] = "admin.model"
    default: bool
    state: ModelState
    detail: str
    """What is being done, or why the last load or reload failed."""
    active_requests: int
    loads: int
    """How often it was loaded or reloaded."""
    dtype: str
    """As loaded; else as it would be."""
    workers: int
    """Ready ones."""
    generation: str
    """Which RWKV it is; empty when it is not loaded."""
    path: str
    aliases: list[str]
    states: list[str]


class AdminModelList(BaseModel):
    """All of them."""

    object: Literal["list"] = "list"
    data: list[AdminModel]
