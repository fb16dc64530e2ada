"""/v1/messages: the API of Anthropic's clients."""

from functools import partial

from fastapi import APIRouter, Request, Response

from server.api.conversation import Conversation, conversation_of
from server.api.dependencies import Service, ServiceDependency
from server.api.generation import Generation
from server.api.messages.answer import FRAMING, MessageAnswer
from server.api.messages.chat_request import as_chat
from server.api.plan import Plan, plan_chat
from server.api.schemas.messages import (
    ANTHROPIC_ERRORS,
    CountTokensRequest,
    MessageResponse,
    MessagesRequest,
    TokenCountResponse,
)
from server.api.sse import EventStream, encode_json
from server.api.tenant import owner_of
from server.registry.manager import Route

router = APIRouter(tags=["anthropic"], responses=ANTHROPIC_ERRORS)


@router.post("/v1/messages", response_model=MessageResponse)
async def create_message(
    body: MessagesRequest, request: Request, service: ServiceDependency
) -> Response:
    """Answer a conversation."""
    route, conversation, plan = await _plan(body, request, service)
    answer = MessageAnswer(route.id, len(plan.prompts[0]), body.stop_sequences)
    read_ahead = partial(service.read_ahead.start, route, plan, conversation)
    if body.stream:
        ping_seconds = service.settings.http.ping_seconds
        return EventStream(*(route, plan, answer, ping_seconds), on_end=read_ahead, framing=FRAMING)
    with Generation(route, plan, request.scope, request.receive) as generation:
        while generation.running:
            for news in await generation.news():
                answer.news(news)
        answer.closing(generation.tokens.usage())
    exits = request.scope["state"]["exits"]  # left when the answer is sent
    exits.callback(read_ahead, generation.choices)
    return Response(encode_json(answer.message), media_type="application/json")


@router.post("/v1/messages/count_tokens")
async def count_tokens(
    body: CountTokensRequest, request: Request, service: ServiceDependency
) -> TokenCountResponse:
    """How many tokens the model would read; nothing is generated."""
    _, _, plan = await _plan(body, request, service)
    return TokenCountResponse(input_tokens=len(plan.prompts[0]))


async def _plan(
    body: MessagesRequest, request: Request, service: Service
) -> tuple[Route, Conversation, Plan]:
    settings, owner = service.settings_for(request), owner_of(request)
    route = service.route(request, body.model)
    chat = as_chat(body)
    conversation = conversation_of(chat, route.served)
    made_of = chat, conversation, route.served, settings, owner
    return route, conversation, await plan_chat(*made_of, service.grammars)
