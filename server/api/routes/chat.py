"""POST /v1/chat/completions."""

import asyncio
import time
from functools import partial
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request, Response

from server.api.best_of import best_choices
from server.api.bodies.route import JsonRoute
from server.api.bodies.threads import body_bytes, off_loop
from server.api.call import call_of, usage_so_far
from server.api.choices import GeneratedChoice
from server.api.chunks import ChatChunks, ChatStream
from server.api.conversation import conversation_of
from server.api.dependencies import ServiceDependency
from server.api.generation import Generation
from server.api.plan import plan_chat
from server.api.saving import ChatEnding, open_saving
from server.api.schemas.chat import ChatCompletionRequest
from server.api.schemas.chat_completion import AssistantMessage, ChatChoice, ChatCompletion
from server.api.schemas.errors import ERROR_RESPONSES
from server.api.sending import JsonResponse
from server.api.shown_logprobs import ChatLogprobs
from server.api.sse import EventStream
from server.api.tenant import owner_of
from server.json_pieces import JsonList, encode_pieces
from server.tokenizer.base import Tokenizer

router = APIRouter(tags=["generation"], route_class=JsonRoute)


@router.post("/v1/chat/completions", response_model=ChatCompletion, responses=ERROR_RESPONSES)
async def create_chat_completion(
    body: ChatCompletionRequest, request: Request, service: ServiceDependency
) -> Response:
    """Answer a conversation."""
    settings, owner = service.settings_for(request), owner_of(request)
    route = service.route(request, body.model)
    size = body_bytes(request.scope)
    conversation = await off_loop(size, conversation_of, body, route.served)
    plan = await plan_chat(body, conversation, route.served, settings, owner, service.grammars)
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
        stream = _stream(body, request, len(plan.choices), tokenizer)
        chunks = ChatChunks(head, stream)
        return EventStream(route, plan, chunks, settings.http.ping_seconds, saving, read_ahead)
    with Generation(route, plan, request.scope, request.receive) as generation:
        logprobs = ChatLogprobs(tokenizer)
        choices = best_choices(plan, await generation.collect(logprobs.add))
        state_id = await saving.save(generation) if saving else None
    call_of(request.scope).exits.callback(read_ahead, choices)  # when the answer is sent
    usage = generation.tokens.usage()
    answer = ChatCompletion(**head, choices=[], usage=usage, state_id=state_id).model_dump()
    answer["choices"] = await _shown(choices, logprobs, body.include_reasoning)
    if not state_id:
        del answer["state_id"]
    return JsonResponse(answer)


async def _shown(
    choices: list[GeneratedChoice], logprobs: ChatLogprobs, include_reasoning: bool
) -> JsonList:
    shown = JsonList()
    for index, choice in enumerate(choices):
        shown.append(
            encode_pieces(_choice(index, choice, logprobs.take(choice.index), include_reasoning))
        )
        await asyncio.sleep(0)  # others go on meanwhile
    return shown


def _stream(
    body: ChatCompletionRequest, request: Request, choices: int, tokenizer: Tokenizer | None
) -> ChatStream:
    return ChatStream(
        choices,
        include_usage=body.include_usage,
        usage=usage_so_far(request) if body.continuous_usage else None,
        tokenizer=tokenizer,
        include_reasoning=body.include_reasoning,
        has_content=body.tool_choice.mode not in ("required", "named"),
    )


def _choice(
    index: int, choice: GeneratedChoice, logprobs: dict[str, Any] | None, include_reasoning: bool
) -> dict[str, Any]:
    assert choice.finish_reason is not None
    message = AssistantMessage.of(choice.answer, include_reasoning)
    shown = ChatChoice(index=index, message=message, finish_reason=choice.finish_reason)
    return shown.model_dump() | {"logprobs": logprobs}
