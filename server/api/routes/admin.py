"""/v1/admin/models: load, reload and unload models while the server runs."""

import asyncio
from collections.abc import Awaitable

from fastapi import APIRouter, Request

from server.api.access import caller_of
from server.api.dependencies import Service, ServiceDependency
from server.api.errors import ApiError
from server.api.operator_route import OperatorRoute
from server.api.schemas.admin import AdminModel, AdminModelList, LoadRequest, ModelRequest
from server.api.schemas.errors import ERROR_RESPONSES
from server.pool.process import WorkerError
from server.registry.hosted_model import HostedModel, ModelConflictError
from server.registry.manager import LOAD_ERRORS, StoppingError, UnknownModelError
from server.registry.within_directories import OutsideError

router = APIRouter(
    prefix="/v1/admin/models",
    tags=["operation"],
    route_class=OperatorRoute,
    responses=ERROR_RESPONSES,
)


@router.get("")
async def list_models(service: ServiceDependency) -> AdminModelList:
    """All models that the server knows, and what they are doing."""
    models = service.models.models.values()
    return AdminModelList(data=[_describe(service, model) for model in models])


@router.post("/load")
async def load(body: LoadRequest, request: Request, service: ServiceDependency) -> AdminModel:
    """Load a model; answers when it takes requests.

    Without API keys only what the settings name, or what is in model.directories.
    """
    if not caller_of(request).name:
        try:
            await asyncio.to_thread(service.models.check_within, body.id, body.changes)
        except OutsideError as error:
            raise ApiError("admin_refused", str(error), error.param) from None
    return await _answer(service, service.models.load(body.id, body.changes))


@router.post("/reload")
async def reload(body: ModelRequest, service: ServiceDependency) -> AdminModel:
    """Load a model anew; answers when the new one has taken over. No request is lost."""
    return await _answer(service, service.models.reload(body.id))


@router.post("/unload")
async def unload(body: ModelRequest, service: ServiceDependency) -> AdminModel:
    """Unload a model; answers when its requests are done and its memory is free."""
    return await _answer(service, service.models.unload(body.id))


async def _answer(service: Service, change: Awaitable[HostedModel]) -> AdminModel:
    try:
        return _describe(service, await change)
    except UnknownModelError as error:
        raise ApiError("model_not_found", str(error), "id") from None
    except ModelConflictError as error:
        raise ApiError("model_conflict", str(error), "id") from None
    except StoppingError as error:
        raise ApiError("stopping", str(error), retry_after=1.0) from None
    except LOAD_ERRORS as error:
        if isinstance(error, WorkerError) and error.exit_code != 2:  # not the user's to mend
            raise ApiError("engine_error", str(error)) from None
        raise ApiError("model_load_failed", str(error) or type(error).__name__, "id") from None


def _describe(service: Service, model: HostedModel) -> AdminModel:
    deployment, entry = model.deployment, model.entry
    return AdminModel(
        id=entry.id,
        default=entry.id == service.models.default,
        state=model.state,
        detail=model.detail,
        active_requests=service.models.deployments.active_requests_of(entry.id),
        loads=model.loads,
        dtype=deployment.ready[0].dtype if deployment else entry.options.dtype,
        workers=deployment.client.workers if deployment else 0,
        generation=model.served.generation if model.served else "",
        path=entry.options.path,
        aliases=entry.options.aliases,
        states=list(model.states),
    )
