"""POST /v1/messages and /v1/messages/count_tokens, as Anthropic has them."""

from dataclasses import replace
from functools import partial

from fastapi import APIRouter, Request, Response

from server.api.access import admitted
from server.api.bodies.route import JsonRoute
from server.api.bodies.threads import body_bytes, off_loop
from server.api.call import call_of, tokens_of
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
from server.api.sending import JsonResponse
from server.api.sse import EventStream, Framing, typed_event
from server.api.tenant import owner_of
from server.logs import request_id
from server.registry.manager import Route

router = APIRouter(tags=["anthropic"], responses=ANTHROPIC_ERRORS, route_class=JsonRoute)

FRAMING = Framing(
    typed_event,
    failure=lambda error: [
        ANTHROPIC.error(error.body["error"], error.status_code, request_id.get())
    ],
    end=b"",
    ping=b"".join(typed_event({"type": "ping"})),
)


@router.post("/v1/messages", response_model=MessageResponse)
async def create_message(
    body: MessagesRequest, request: Request, service: ServiceDependency
) -> Response:
    """Answer a conversation."""
    route, plan, conversation = await _prepare(body, request, service)
    kept = _kept_tokens(body, plan)
    answer = MessageAnswer(route.id, body, lambda: tokens_of(request), kept)
    read_ahead = partial(service.read_ahead.start, route, plan, conversation)
    if body.stream:
        ping_seconds = service.settings.http.ping_seconds
        return EventStream(route, plan, answer, ping_seconds, on_end=read_ahead, framing=FRAMING)
    with Generation(route, plan, request.scope, request.receive) as generation:
        while generation.running:
            for news in await generation.news():
                answer.news(news)
    answer.closing(generation.tokens.usage())
    call_of(request.scope).exits.callback(read_ahead, generation.choices)
    return JsonResponse(answer.message)


@router.post("/v1/messages/count_tokens")
async def count_tokens(
    body: CountTokensRequest, request: Request, service: ServiceDependency
) -> TokenCountResponse:
    """How many tokens the model would read; nothing is generated."""
    async with admitted(request.scope) as charge:
        _, plan, _ = await _prepare(body, request, service)
        charge(len(plan.prompts[0]))
    return TokenCountResponse(input_tokens=len(plan.prompts[0]))


async def _prepare(
    body: CountTokensRequest, request: Request, service: Service
) -> tuple[Route, Plan, Conversation]:
    settings, owner = service.settings_for(request), owner_of(request)
    size = body_bytes(request.scope)
    chat = await off_loop(size, as_chat, body)
    route = service.route(request, body.model)
    conversation = await off_loop(size, conversation_of, chat, route.served)
    conversation = replace(conversation, returns_objects=True)
    try:
        plan = await plan_chat(chat, conversation, route.served, settings, owner, service.grammars)
    except ApiError as error:
        raise error.renamed(in_our_words) from None
    return route, await service.go_on(plan, chat, owner.tenant, route), conversation


def _kept_tokens(body: CountTokensRequest, plan: Plan) -> int:
    """How many tokens of the prompt are before the last cache_control; all, if that is for it."""
    (prompt,), (task,) = plan.prompts, plan.choices
    if body.cache_control is not None:
        return len(prompt)
    ends = [at for at, kind in task.use.boundaries.items() if kind == "breakpoint"]
    return max(ends, default=0)
