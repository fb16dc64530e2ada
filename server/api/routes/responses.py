"""/v1/responses: made, looked at, gone on from, cancelled, deleted."""

from collections.abc import AsyncIterator, Callable, Mapping
from itertools import chain
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.responses import StreamingResponse

from server.api.access import admitted
from server.api.bodies.route import JsonRoute
from server.api.call import call_of
from server.api.conversations import Conversations
from server.api.dependencies import Service, ServiceDependency
from server.api.generation import Generation
from server.api.responses.answer import Answer
from server.api.responses.messages import IGNORED_MESSAGES, as_request, connection_of
from server.api.responses.remaking import with_seed
from server.api.responses.turn import Turn, TurnKeeper, prepare
from server.api.schemas.conversations import ItemList, ItemsQuery
from server.api.schemas.errors import ERROR_RESPONSES
from server.api.schemas.response_object import DeletedResponse, ResponseObject
from server.api.schemas.responses import InputTokens, ResponseRequest
from server.api.sending import JsonResponse
from server.api.sse import HEADERS, EventStream, Framing, typed_event
from server.api.tenant import owner_of
from server.json_pieces import JsonDocument
from server.stores.responses.records import ItemPage, Page

router = APIRouter(tags=["responses"], responses=ERROR_RESPONSES, route_class=JsonRoute)


class RetrieveQuery(BaseModel):
    """The query of GET /v1/responses/{id}."""

    stream: bool = Field(False, description="The events; only of one made in the background.")
    starting_after: int = Field(-1, ge=-1, description="The number of the last event one has.")


@router.post("/v1/responses", response_model=ResponseObject)
async def create_response(
    body: ResponseRequest, request: Request, service: ServiceDependency
) -> Response:
    """Answer a conversation, of which the server may know all that came before."""
    if connection_of(request) is not None:
        if body.type in IGNORED_MESSAGES:
            return Response(status_code=204)
        body = as_request(body, request)
    turn = await _prepare(body, request, service)
    if turn.body.background:
        run = await service.background.start(turn, request.scope)
        if body.stream:
            events = run.follow(-1, service.settings.http.ping_seconds)
            return _stream(events, turn.tools.headers)
        return JsonResponse(run.answer.response, turn.tools.headers)
    answer = turn.new_answer()
    keeper = TurnKeeper(service.conversations, turn, answer) if turn.is_kept else None
    if not body.generate:
        return await _only_read(turn, answer, keeper, request)
    if body.stream:
        framing = Framing(typed_event, answer.failure, end=b"")
        ping_seconds = service.settings.http.ping_seconds
        stream = EventStream(
            turn.route,
            turn.plan,
            answer,
            ping_seconds,
            keeper,
            on_end=lambda choices: turn.read_ahead(service.read_ahead, choices),
            framing=framing,
        )
        stream.headers.update(turn.tools.headers)
        return stream
    with Generation(turn.route, turn.plan, request.scope, request.receive) as generation:
        while generation.running:
            for news in await generation.news():
                answer.news(news)
        answer.complete(generation.tokens.usage())
        if keeper is not None:
            await keeper.save(generation)
    exits = call_of(request.scope).exits  # left when the answer is sent
    exits.callback(turn.read_ahead, service.read_ahead, generation.choices)
    return JsonResponse(answer.response, turn.tools.headers)


@router.post("/v1/responses/input_tokens")
async def count_input_tokens(
    body: ResponseRequest, request: Request, service: ServiceDependency
) -> InputTokens:
    """How many tokens the model would read; nothing is generated or kept."""
    async with admitted(request.scope) as charge:
        turn = await _prepare(body, request, service)
        charge(len(turn.plan.prompts[0]))
    return InputTokens(input_tokens=len(turn.plan.prompts[0]))


@router.get("/v1/responses/{id}", response_model=ResponseObject)
async def get_response(
    id: str, query: Annotated[RetrieveQuery, Query()], request: Request, service: ServiceDependency
) -> Response:
    """A response that was kept, or its events."""
    tenant, kept = owner_of(request).tenant, service.conversations
    response = await kept.call(lambda: JsonDocument(kept.responses.read(tenant, id)))
    if query.stream:
        return _stream(service.background.follow(tenant, id, query.starting_after))
    return JsonResponse(response)


@router.delete("/v1/responses/{id}")
async def delete_response(id: str, request: Request, service: ServiceDependency) -> DeletedResponse:
    """Delete a response; one that is being made ends."""
    await service.background.remove(owner_of(request).tenant, id)
    return DeletedResponse(id=id)


@router.post("/v1/responses/{id}/cancel", response_model=ResponseObject)
async def cancel_response(id: str, request: Request, service: ServiceDependency) -> Response:
    """End a response that is made in the background."""
    return JsonResponse(await service.background.cancel(owner_of(request).tenant, id))


@router.get("/v1/responses/{id}/input_items", response_model=ItemList)
async def list_input_items(
    id: str, query: Annotated[ItemsQuery, Query()], request: Request, service: ServiceDependency
) -> Response:
    """All that the response was made from, also what earlier ones brought; the latest first."""
    kept, tenant = service.conversations, owner_of(request).tenant
    return await item_page(kept, kept.responses.input_items, tenant, id, query)


async def item_page(
    kept: Conversations,
    read: Callable[[str, str, Page], ItemPage],
    tenant: str,
    ident: str,
    query: ItemsQuery,
) -> Response:
    """The page that a query asks for; it is read and encoded off the event loop."""
    page = Page(query.limit, query.after, query.order == "desc")
    return JsonResponse(await kept.call(lambda: read(tenant, ident, page).shown()))


async def _prepare(body: ResponseRequest, request: Request, service: Service) -> Turn:
    settings, owner = service.settings_for(request), owner_of(request)
    route = service.route(request, body.model)
    if body.background:
        body = with_seed(body)
    connection = connection_of(request)
    return await prepare(
        body,
        owner,
        route,
        settings,
        service.conversations,
        service.states,
        service.grammars,
        connection,
    )


async def _only_read(
    turn: Turn, answer: Answer, keeper: TurnKeeper | None, request: Request
) -> Response:
    """Have the input read, so that the next turn finds its state: nothing is said."""
    begun = answer.opening()
    with Generation(turn.route, turn.only_read(), request.scope, request.receive) as generation:
        await generation.collect()
        usage = generation.tokens.usage()
        answer.complete(usage)
        if keeper is not None:
            await keeper.save(generation)
    if not turn.body.stream:
        return JsonResponse(answer.response)
    events = map(typed_event, [*begun, *answer.closing(usage)])
    return Response(b"".join(chain.from_iterable(events)), headers=HEADERS)


def _stream(events: AsyncIterator[bytes], headers: Mapping[str, str] | None = None) -> Response:
    return StreamingResponse(events, headers={**HEADERS, **(headers or {})})
