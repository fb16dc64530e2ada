"""POST /v1/messages and /v1/messages/count_tokens, as Anthropic has them."""

from functools import partial

from fastapi import APIRouter, Request, Response

from server.api.conversation import Conversation, conversation_of
from server.api.dependencies import Service, ServiceDependency
from server.api.dialects import ANTHROPIC
from server.api.errors import ApiError
from server.api.generation import Generation
from server.api.messages.answer import MessageAnswer
from server.api.messages.chat_request import as_chat, in_our_words
from server.api.plan import Plan, plan_chat
from server.api.schemas.message import ANTHROPIC_ERRORS, MessageResponse, TokenCountResponse
from server.api.schemas.messages import CountTokensRequest, MessagesRequest
from server.api.sse import EventStream, Framing, encode_json, typed_event
from server.api.tenant import owner_of
from server.logs import request_id
from server.registry.manager import Route

router = APIRouter(tags=["anthropic"], responses=ANTHROPIC_ERRORS)

FRAMING = Framing(
    typed_event,
    failure=lambda error: [
        ANTHROPIC.error(error.body["error"], error.status_code, request_id.get())
    ],
    end=b"",
    ping=typed_event({"type": "ping"}),
)


@router.post("/v1/messages", response_model=MessageResponse)
async def create_message(
    body: MessagesRequest, request: Request, service: ServiceDependency
) -> Response:
    """Answer a conversation."""
    route, plan, conversation = await _prepare(body, request, service)
    answer = MessageAnswer(route.id, body, lambda: request.scope["state"]["tokens"])
    read_ahead = partial(service.read_ahead.start, route, plan, conversation)
    if body.stream:
        ping_seconds = service.settings.http.ping_seconds
        return EventStream(*(route, plan, answer, ping_seconds), on_end=read_ahead, framing=FRAMING)
    with Generation(route, plan, request.scope, request.receive) as generation:
        while generation.running:
            for news in await generation.news():
                answer.news(news)
    answer.closing(generation.tokens.usage())
    request.scope["state"]["exits"].callback(read_ahead, generation.choices)
    return Response(encode_json(answer.message), media_type="application/json")


@router.post("/v1/messages/count_tokens")
async def count_tokens(
    body: CountTokensRequest, request: Request, service: ServiceDependency
) -> TokenCountResponse:
    """How many tokens the model would read; nothing is generated."""
    _, plan, _ = await _prepare(body, request, service)
    return TokenCountResponse(input_tokens=len(plan.prompts[0]))


async def _prepare(
    body: CountTokensRequest, request: Request, service: Service
) -> tuple[Route, Plan, Conversation]:
    settings, owner = service.settings_for(request), owner_of(request)
    chat = as_chat(body)
    route = service.route(request, body.model)
    conversation = conversation_of(chat, route.served)
    made_of = chat, conversation, route.served, settings, owner
    try:
        plan = await plan_chat(*made_of, service.grammars)
    except ApiError as error:
        raise error.renamed(in_our_words) from None
    return route, await service.go_on(plan, chat, owner.tenant, route), conversation
