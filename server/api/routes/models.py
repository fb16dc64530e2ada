"""Which models there are."""

from datetime import UTC, datetime

from fastapi import APIRouter, Request

from server.api.dependencies import ServiceDependency
from server.api.dialects import ANTHROPIC_VERSION
from server.api.errors import ApiError
from server.api.schemas.errors import ERROR_RESPONSES
from server.api.schemas.models import AnthropicModel, AnthropicModelList, Model, ModelList
from server.registry.hosted_model import HostedModel
from server.registry.manager import UnknownModelError

router = APIRouter(tags=["models"])


@router.head("/v1/models", include_in_schema=False, response_model_exclude_none=True)
@router.get("/v1/models", response_model_exclude_none=True)
async def list_models(
    request: Request, service: ServiceDependency
) -> ModelList | AnthropicModelList:
    """All models, also those that are not loaded, with their initial states and aliases.

    Anthropic's clients, which say which version of that API they speak, get its form.
    """
    models = service.models.models.values()
    data = [_describe(model, state) for model in models for state in ("", *model.states)]
    data += [_described(alias, model) for model in models for alias in model.entry.options.aliases]
    if ANTHROPIC_VERSION in request.headers:
        theirs = [_for_anthropic(model) for model in data]
        return AnthropicModelList(data=theirs, first_id=data[0].id, last_id=data[-1].id)
    return ModelList(data=data)


@router.get(
    "/v1/models/{model_id:path}", responses=ERROR_RESPONSES, response_model_exclude_none=True
)
async def get_model(
    model_id: str, request: Request, service: ServiceDependency
) -> Model | AnthropicModel:
    """One model by id or alias; ids may have slashes."""
    try:
        if not model_id:
            raise UnknownModelError("The path ends in a model's id")
        model = _describe(*service.models.find(model_id))
        return _for_anthropic(model) if ANTHROPIC_VERSION in request.headers else model
    except UnknownModelError as error:
        raise ApiError("model_not_found", str(error), "model") from None


def _describe(model: HostedModel, state: str) -> Model:
    return _described(f"{model.entry.id}:{state}" if state else model.entry.id, model)


def _described(name: str, model: HostedModel) -> Model:
    length = model.served.trained_length if model.served else None
    lengths = {"context_window": length, "context_length": length, "max_model_len": length}
    embeds = model.served is not None and model.served.embeds
    return Model(id=name, created=model.created, type="embedding" if embeds else None, **lengths)


def _for_anthropic(model: Model) -> AnthropicModel:
    created = datetime.fromtimestamp(model.created, UTC).isoformat().replace("+00:00", "Z")
    return AnthropicModel(id=model.id, display_name=model.id, created_at=created)
