"""Which models there are."""

from fastapi import APIRouter

from server.api.dependencies import ServiceDependency
from server.api.plan import unknown_model
from server.api.schemas.errors import ERROR_RESPONSES
from server.api.schemas.models import Model, ModelList
from server.api.served_model import ServedModel

router = APIRouter(tags=["models"])


@router.get("/v1/models")
async def list_models(service: ServiceDependency) -> ModelList:
    """All served models."""
    return ModelList(data=[_describe(service.model)])


@router.get("/v1/models/{model_id:path}", responses=ERROR_RESPONSES)
async def get_model(model_id: str, service: ServiceDependency) -> Model:
    """One model; ids may have slashes."""
    if model_id != service.model.id:
        raise unknown_model(model_id, service.model)
    return _describe(service.model)


def _describe(model: ServedModel) -> Model:
    return Model(id=model.id, created=model.created)
