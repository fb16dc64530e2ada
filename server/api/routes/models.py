"""Which models there are."""

from fastapi import APIRouter

from server.api.dependencies import ServiceDependency
from server.api.errors import ApiError
from server.api.schemas.errors import ERROR_RESPONSES
from server.api.schemas.models import Model, ModelList
from server.registry.hosted_model import HostedModel
from server.registry.manager import UnknownModelError

router = APIRouter(tags=["models"])


@router.get("/v1/models")
async def list_models(service: ServiceDependency) -> ModelList:
    """All models, also those that are not loaded, each with its initial states."""
    models = service.models.models.values()
    return ModelList(
        data=[_describe(model, state) for model in models for state in ("", *model.states)]
    )


@router.get("/v1/models/{model_id:path}", responses=ERROR_RESPONSES)
async def get_model(model_id: str, service: ServiceDependency) -> Model:
    """One model by id or alias; ids may have slashes."""
    try:
        if not model_id:
            raise UnknownModelError("The path ends in a model's id")
        return _describe(*service.models.find(model_id))
    except UnknownModelError as error:
        raise ApiError("model_not_found", str(error), "model") from None


def _describe(model: HostedModel, state: str) -> Model:
    ident = f"{model.entry.id}:{state}" if state else model.entry.id
    return Model(id=ident, created=model.created)
