"""/v1/states: named states of the tenant that asks."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.requests import ClientDisconnect

from server.api.bodies.route import JsonRoute
from server.api.bodies.threads import body_bytes
from server.api.call import call_of
from server.api.dependencies import Service, ServiceDependency
from server.api.errors import ApiError, ClientGoneError
from server.api.generation import Generation
from server.api.plan import plan_state
from server.api.schemas.errors import ERROR_RESPONSES
from server.api.schemas.states import (
    DeletedState,
    ImportQuery,
    ListQuery,
    State,
    StateList,
    StateOptions,
    StateRequest,
)
from server.api.states import StateContent, is_usable
from server.api.tenant import owner_of
from server.registry.manager import Route
from server.state_cache.encoding import SnapshotError
from server.stores.states.records import NamedState

IMPORT_PATH = "/v1/states/import"
"""Its bodies may be as large as a state."""

_FILE = "application/octet-stream"
_FILE_BODY = {"content": {_FILE: {"schema": {"type": "string", "format": "binary"}}}}

router = APIRouter(tags=["states"], responses=ERROR_RESPONSES, route_class=JsonRoute)


@router.post("/v1/states")
async def create_state(body: StateRequest, request: Request, service: ServiceDependency) -> State:
    """Read a prompt or messages, also after another state, and keep the state."""
    owner = owner_of(request)
    route = service.route(request, body.model)
    size, settings = body_bytes(request.scope), service.settings_for(request)
    plan = await plan_state(body, size, route.served, settings, owner)
    plan = await service.go_on(plan, body, owner.tenant, route)
    await service.states.check_room(owner.tenant, route)
    with Generation(route, plan, request.scope, request.receive) as generation:
        (choice,) = await generation.collect()
    tokens = plan.base_tokens + len(plan.prompts[0])
    content = StateContent.of(route, tokens, choice.state)
    return _describe(await service.states.add(owner.tenant, content, body), service)


@router.get("/v1/states")
async def list_states(
    query: Annotated[ListQuery, Query()], request: Request, service: ServiceDependency
) -> StateList:
    """A page of states, the newest first."""
    states, has_more = await service.states.list(owner_of(request).tenant, query)
    return StateList(
        data=[_describe(state, service) for state in states],
        first_id=states[0].id if states else None,
        last_id=states[-1].id if states else None,
        has_more=has_more,
    )


@router.post(IMPORT_PATH, openapi_extra={"requestBody": _FILE_BODY})
async def import_state(
    query: Annotated[ImportQuery, Query()], request: Request, service: ServiceDependency
) -> State:
    """Keep a state that was exported; the body is the file."""
    owner = owner_of(request)
    route = service.route(request, query.model)
    await service.states.check_room(owner.tenant, route)
    with service.states.transfer(owner.tenant):
        try:
            data = await request.body()
        except ClientDisconnect:
            raise ClientGoneError from None
        try:
            content = await asyncio.to_thread(_decode, data, route)
        except SnapshotError as error:
            raise ApiError("invalid_value", str(error), "body") from None
        return _describe(await service.states.add(owner.tenant, content, query), service)


@router.get("/v1/states/{id}")
async def get_state(id: str, request: Request, service: ServiceDependency) -> State:
    """One state."""
    return _describe(await service.states.get(owner_of(request).tenant, id), service)


@router.patch("/v1/states/{id}")
async def change_state(
    id: str, body: StateOptions, request: Request, service: ServiceDependency
) -> State:
    """Change name, pinned or ttl_seconds, and count its ttl from now on."""
    return _describe(await service.states.update(owner_of(request).tenant, id, body), service)


@router.delete("/v1/states/{id}")
async def delete_state(id: str, request: Request, service: ServiceDependency) -> DeletedState:
    """Delete a state for good."""
    await service.states.remove(owner_of(request).tenant, id)
    return DeletedState(id=id)


@router.post("/v1/states/{id}/fork")
async def fork_state(
    id: str, request: Request, service: ServiceDependency, body: StateOptions | None = None
) -> State:
    """A new state of the same bytes."""
    tenant = owner_of(request).tenant
    with service.states.transfer(tenant):
        content = await service.states.read(tenant, id)
        forked = await service.states.add(tenant, content, body or StateOptions())
    return _describe(forked, service)


@router.get(
    "/v1/states/{id}/export",
    response_class=Response,
    responses={200: {"description": "The state as safetensors"} | _FILE_BODY},
)
async def export_state(id: str, request: Request, service: ServiceDependency) -> Response:
    """The state as a file that can be imported."""
    tenant = owner_of(request).tenant
    # Until all of it is sent.
    call_of(request.scope).exits.enter_context(service.states.transfer(tenant))
    content = await service.states.read(tenant, id)
    headers = {"content-disposition": f'attachment; filename="{id}.safetensors"'}
    return Response(content.payload, media_type=_FILE, headers=headers)


def _decode(data: bytes, route: Route) -> StateContent:
    """A file's state, encoded as if it had been made here. Raises SnapshotError."""
    stored = route.codec.decode_any(data)
    tokens, has_logits = stored.snapshot.tokens, stored.snapshot.logits is not None
    if route.codec.differs_in_arithmetic(stored.fingerprint) and stored.token_ids is not None:
        model = route.served.spec.id  # which makes it anew when it is used
        return StateContent(model, stored.fingerprint, tokens, has_logits, data)
    stored = route.codec.decode(data)
    payload = route.codec.encode(stored.snapshot, stored.token_ids)
    return StateContent.of(route, tokens, payload, has_logits)


def _describe(state: NamedState, service: Service) -> State:
    codec = service.models.codec_of(state.model)
    return State(
        id=state.id,
        created_at=int(state.created),
        model=state.model,
        name=state.name or None,
        tokens=state.tokens,
        bytes=state.bytes,
        pinned=state.pinned,
        ttl_seconds=state.ttl_seconds,
        expires_at=None if state.expires_at is None else int(state.expires_at),
        fingerprint=state.fingerprint,
        usable=codec is not None and is_usable(state, state.model, codec),
    )
