"""/v1/batches: batches of the tenant that asks."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from server.api.access import caller_of
from server.api.bodies.route import JsonRoute
from server.api.dependencies import ServiceDependency
from server.api.schemas.batches import (
    Batch,
    BatchList,
    BatchListQuery,
    BatchRequest,
    DeletedBatch,
)
from server.api.schemas.errors import ERROR_RESPONSES
from server.api.tenant import owner_of
from server.stores.batches.records import Batch as BatchRecord
from server.stores.batches.records import Owner

router = APIRouter(tags=["batches"], responses=ERROR_RESPONSES, route_class=JsonRoute)


@router.post("/v1/batches")
async def create_batch(body: BatchRequest, request: Request, service: ServiceDependency) -> Batch:
    """Have the requests in a file answered, behind everything else."""
    owner = Owner(owner_of(request).tenant, caller_of(request).name)
    return Batch.of(await service.batches.add_batch(owner, body))


@router.get("/v1/batches", response_model=BatchList)
async def list_batches(
    query: Annotated[BatchListQuery, Query()], request: Request, service: ServiceDependency
) -> Response:
    """A page of batches, the newest first."""
    found = await service.batches.list_batches(owner_of(request).tenant, query)
    # Each may have a hundred errors.
    body = await asyncio.to_thread(_encoded, *found)
    return Response(body, media_type="application/json")


@router.get("/v1/batches/{id}")
async def get_batch(id: str, request: Request, service: ServiceDependency) -> Batch:
    """One batch and how far it is."""
    return Batch.of(await service.batches.get_batch(owner_of(request).tenant, id))


@router.post("/v1/batches/{id}/cancel")
async def cancel_batch(id: str, request: Request, service: ServiceDependency) -> Batch:
    """End a batch; what was answered of it is kept."""
    return Batch.of(await service.batches.cancel_batch(owner_of(request).tenant, id))


@router.delete("/v1/batches/{id}")
async def delete_batch(id: str, request: Request, service: ServiceDependency) -> DeletedBatch:
    """Delete a batch, which ends it; files stay, also those with its answers."""
    await service.batches.remove_batch(owner_of(request).tenant, id)
    return DeletedBatch(id=id)


def _encoded(batches: Sequence[BatchRecord], has_more: bool) -> str:
    return BatchList(
        data=[Batch.of(batch) for batch in batches],
        first_id=batches[0].id if batches else None,
        last_id=batches[-1].id if batches else None,
        has_more=has_more,
    ).model_dump_json()
