"""/v1/admin: what the operator asks of models, and what is said of them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from server.api.schemas.bounds import MAX_FIELDS
from server.api.schemas.validation import invalid
from server.config_models import ModelOptions
from server.model_names import ModelName
from server.registry.hosted_model import ModelState


class _FewFields(BaseModel):
    """Each field that is not known is an error."""

    @model_validator(mode="before")
    @classmethod
    def _check_count(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and len(fields) > MAX_FIELDS:
            raise invalid("should have fewer fields", "body")
        return fields


class ModelRequest(_FewFields):
    """Which model."""

    model_config = ConfigDict(strict=True, extra="forbid")

    id: ModelName


class LoadRequest(_FewFields, ModelOptions):
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
