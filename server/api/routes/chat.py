"""POST /v1/chat/completions."""

import time
from functools import partial
from uuid import uuid4

from fastapi import APIRouter, Request, Response

from server.api.best_of import best_choices
from server.api.choices import GeneratedChoice
from server.api.chunks import ChatChunks
from server.api.conversation import conversation_of
from server.api.dependencies import ServiceDependency
from server.api.generation import Generation
from server.api.logprobs import chat_logprobs
from server.api.plan import plan_chat
from server.api.saving import ChatEnding, open_saving
from server.api.schemas.chat import ChatCompletionRequest
from server.api.schemas.chat_completion import AssistantMessage, ChatChoice, ChatCompletion
from server.api.schemas.errors import ERROR_RESPONSES
from server.api.sse import EventStream
from server.api.tenant import owner_of
from server.tokenizer.base import Tokenizer

router = APIRouter(tags=["generation"])


@router.post("/v1/chat/completions", response_model=ChatCompletion, responses=ERROR_RESPONSES)
async def create_chat_completion(
    body: ChatCompletionRequest, request: Request, service: ServiceDependency
) -> Response:
    """Answer a conversation."""
    settings, owner = service.settings_for(request), owner_of(request)
    route = service.route(request, body.model)
    conversation = conversation_of(body, route.served)
    made_of = body, conversation, route.served, settings, owner
    plan = await plan_chat(*made_of, service.grammars)
    plan = await service.go_on(plan, body, owner.tenant, route)
    saving = None
    if body.save_state:
        ending = ChatEnding(conversation)
        saving = await open_saving(service.states, owner.tenant, route, plan, ending)
    head = {
        "id": f"chatcmpl-{uuid4().hex}",
        "created": int(time.time()),
        "model": route.id,
        "system_fingerprint": route.served.system_fingerprint,
    }
    read_ahead = partial(service.read_ahead.start, route, plan, conversation)
    tokenizer = route.served.tokenizer if body.logprobs else None
    if body.stream:
        chunks = ChatChunks(head, body.include_usage, len(plan.choices), tokenizer)
        return EventStream(route, plan, chunks, settings.http.ping_seconds, saving, read_ahead)
    with Generation(route, plan, request.scope, request.receive) as generation:
        choices = best_choices(plan, await generation.collect())
        state_id = await saving.save(generation) if saving else None
    request.scope["state"]["exits"].callback(read_ahead, choices)  # when the answer is sent
    completion = ChatCompletion(
        **head,
        choices=[_choice(index, choice, tokenizer) for index, choice in enumerate(choices)],
        usage=generation.tokens.usage(),
        state_id=state_id,
    )
    content = completion.model_dump_json(exclude=None if saving else {"state_id"})
    return Response(content, media_type="application/json")


def _choice(index: int, choice: GeneratedChoice, tokenizer: Tokenizer | None) -> ChatChoice:
    return ChatChoice(
        index=index,
        message=AssistantMessage.of(choice.answer),
        logprobs=chat_logprobs(choice.logprobs, tokenizer),
        finish_reason=choice.finish_reason,
    )
