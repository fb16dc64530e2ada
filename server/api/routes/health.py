"""Is the process alive, and does it take requests?"""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from server.api.dependencies import ServiceDependency
from server.api.errors import ApiError, not_ready
from server.api.schemas.errors import ERROR_RESPONSES
from server.pool.client import NotReadyError

router = APIRouter(tags=["operation"])


class Root(BaseModel):
    """What this server is, and where its description lies."""

    name: Literal["rwkv-server"] = "rwkv-server"
    model: str
    openapi: Literal["/openapi.json"] = "/openapi.json"


class Health(BaseModel):
    """State of a living process."""

    status: Literal["ok"] = "ok"
    ready: bool
    detail: str
    model: str
    """The default model's id."""
    generation: str
    """Of the default model; empty when it is not loaded."""
    active_requests: int
    reading_ahead: int
    """Answers that are read for the next turn, in the background."""


class Liveness(BaseModel):
    """The process lives."""

    status: Literal["alive"] = "alive"


class Readiness(BaseModel):
    """The server takes requests."""

    status: Literal["ready"] = "ready"
    model: str


@router.head("/", include_in_schema=False)
@router.get("/")
async def root(service: ServiceDependency) -> Root:
    """Where to look next."""
    return Root(model=service.models.default)


@router.head("/health", include_in_schema=False)
@router.get("/health")
async def health(service: ServiceDependency) -> Health:
    """200 as long as the process lives, also while a model loads."""
    models = service.models
    served = models.models[models.default].served
    return Health(
        ready=not models.waiting_for,
        detail=models.waiting_for or "ready",
        model=models.default,
        generation=served.generation if served else "",
        active_requests=models.deployments.active_requests,
        reading_ahead=service.read_ahead.running,
    )


@router.head("/live", include_in_schema=False)
@router.get("/live")
async def live() -> Liveness:
    """200 as long as requests can be answered at all, also while models load or it stops."""
    return Liveness()


@router.head("/ready", include_in_schema=False)
@router.get("/ready", responses=ERROR_RESPONSES)
async def ready(service: ServiceDependency) -> Readiness:
    """200 when requests are taken, else 503 with what the server is waiting for."""
    if service.models.closed:
        raise ApiError("stopping", "The server is shutting down")
    if service.models.waiting_for:
        raise not_ready(NotReadyError(service.models.waiting_for))
    return Readiness(model=service.models.default)
