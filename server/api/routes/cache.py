"""/v1/cache: the cached states of all workers, for operators. Named states are not among them."""

from typing import Annotated

from fastapi import APIRouter, Query

from server.api.dependencies import ServiceDependency
from server.api.operator_route import OperatorRoute
from server.api.schemas.cache import CacheCleared, CacheList, WorkerCache
from server.api.schemas.errors import ERROR_RESPONSES

router = APIRouter(
    prefix="/v1/cache",
    tags=["operation"],
    route_class=OperatorRoute,
    responses=ERROR_RESPONSES,
)


@router.get("")
async def get_cache(service: ServiceDependency) -> CacheList:
    """What each worker has cached, and what that was good for."""
    reports = await service.models.deployments.cache_reports()
    return CacheList(
        data=[
            WorkerCache(model=model, worker=name, cache=report)
            for model, of_model in reports.items()
            for name, report in of_model.items()
        ]
    )


@router.delete("")
async def clear_cache(
    service: ServiceDependency,
    shared: Annotated[
        bool, Query(description="Also what is shared with other servers, of all models.")
    ] = False,
) -> CacheCleared:
    """Forget all cached states, in memory and on disk. Requests that run go on."""
    reports = await service.models.deployments.cache_reports(clear=True, clear_shared=shared)
    return CacheCleared(
        models=list(reports),
        complete=all(report is not None for each in reports.values() for report in each.values()),
    )
