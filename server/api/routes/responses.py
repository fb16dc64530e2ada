"""/v1/responses: made, looked at, gone on from, cancelled, deleted."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.responses import StreamingResponse

from server.api.dependencies import Service, ServiceDependency
from server.api.generation import Generation
from server.api.responses.answer import Answer
from server.api.responses.background import with_seed
from server.api.responses.turn import Turn, TurnKeeper, prepare
from server.api.schemas.conversations import ItemList, ItemsQuery
from server.api.schemas.errors import ERROR_RESPONSES
from server.api.schemas.response_object import DeletedResponse, ResponseObject
from server.api.schemas.responses import InputTokens, ResponseRequest
from server.api.sse import HEADERS, EventStream, Framing, encode_json, typed_event
from server.api.tenant import owner_of
from server.conversations.records import Item, Page

router = APIRouter(tags=["responses"], responses=ERROR_RESPONSES)


class RetrieveQuery(BaseModel):
    """The query of GET /v1/responses/{id}."""

    stream: bool = Field(False, description="The events; only of one made in the background.")
    starting_after: int = Field(-1, ge=-1, description="The number of the last event one has.")


@router.post("/v1/responses", response_model=ResponseObject)
async def create_response(
    body: ResponseRequest, request: Request, service: ServiceDependency
) -> Response:
    """Answer a conversation, of which the server may know all that came before."""
    turn = await _prepare(body, request, service)
    if turn.body.background:
        run = await service.background.start(turn, request.scope)
        if body.stream:
            return _stream(run.follow(-1, service.settings.http.ping_seconds))
        return _json(run.answer.response)
    answer = Answer(turn.new_response(), turn.logprob_tokenizer)
    keeper = TurnKeeper(service.conversations, turn, answer) if turn.is_kept else None
    if body.stream:
        framing = Framing(typed_event, answer.failure, end=b"")
        ping_seconds = service.settings.http.ping_seconds
        return EventStream(
            *(turn.route, turn.plan, answer, ping_seconds, keeper),
            on_end=lambda choices: turn.read_ahead(service.read_ahead, choices),
            framing=framing,
        )
    with Generation(turn.route, turn.plan, request.scope, request.receive) as generation:
        while generation.running:
            for news in await generation.news():
                answer.news(news)
        answer.complete(generation.tokens.usage())
        if keeper is not None:
            await keeper.save(generation)
    exits = request.scope["state"]["exits"]  # left when the answer is sent
    exits.callback(turn.read_ahead, service.read_ahead, generation.choices)
    return _json(answer.response)


@router.post("/v1/responses/input_tokens")
async def count_input_tokens(
    body: ResponseRequest, request: Request, service: ServiceDependency
) -> InputTokens:
    """How many tokens the model would read; nothing is generated or kept."""
    turn = await _prepare(body, request, service)
    return InputTokens(input_tokens=len(turn.plan.prompts[0]))


@router.get("/v1/responses/{id}", response_model=ResponseObject)
async def get_response(
    id: str, query: Annotated[RetrieveQuery, Query()], request: Request, service: ServiceDependency
) -> Response:
    """A response that was kept, or its events."""
    tenant, kept = owner_of(request).tenant, service.conversations
    response = await kept.call(kept.responses.get, tenant, id)
    if query.stream:
        return _stream(service.background.follow(tenant, id, query.starting_after))
    return _json(response)


@router.delete("/v1/responses/{id}")
async def delete_response(id: str, request: Request, service: ServiceDependency) -> DeletedResponse:
    """Delete a response; one that is being made ends."""
    await service.background.remove(owner_of(request).tenant, id)
    return DeletedResponse(id=id)


@router.post("/v1/responses/{id}/cancel", response_model=ResponseObject)
async def cancel_response(id: str, request: Request, service: ServiceDependency) -> Response:
    """End a response that is made in the background."""
    return _json(await service.background.cancel(owner_of(request).tenant, id))


@router.get("/v1/responses/{id}/input_items")
async def list_input_items(
    id: str, query: Annotated[ItemsQuery, Query()], request: Request, service: ServiceDependency
) -> ItemList:
    """All that the response was made from, also what earlier ones brought; the latest first."""
    kept, tenant = service.conversations, owner_of(request).tenant
    return item_list(*await kept.call(kept.responses.input_items, tenant, id, page_of(query)))


def page_of(query: ItemsQuery) -> Page:
    """The part of a list that a query asks for."""
    return Page(query.limit, query.after, query.order == "desc")


def item_list(items: list[Item], has_more: bool) -> ItemList:
    """A page, as the API shows it."""
    first, last = (items[0]["id"], items[-1]["id"]) if items else ("", "")
    return ItemList(data=items, first_id=first, last_id=last, has_more=has_more)


async def _prepare(body: ResponseRequest, request: Request, service: Service) -> Turn:
    settings, owner = service.settings_for(request), owner_of(request)
    route = service.route(request, body.model)
    if body.background:
        body = with_seed(body)
    return await prepare(body, owner, route, settings, service.conversations, service.grammars)


def _json(response: dict[str, Any]) -> Response:
    return Response(encode_json(response), media_type="application/json")


def _stream(events: AsyncIterator[bytes]) -> Response:
    return StreamingResponse(events, headers=HEADERS)
