"""POST /v1/chat/completions."""

import time
from uuid import uuid4

from fastapi import APIRouter, Request, Response

from server.api.chunks import ChatChunks
from server.api.dependencies import ServiceDependency
from server.api.generation import Generation
from server.api.plan import plan_chat
from server.api.schemas.chat import (
    AssistantMessage,
    ChatChoice,
    ChatCompletion,
    ChatCompletionRequest,
)
from server.api.schemas.errors import ERROR_RESPONSES
from server.api.sse import EventStream

router = APIRouter(tags=["generation"])


@router.post("/v1/chat/completions", response_model=ChatCompletion, responses=ERROR_RESPONSES)
async def create_chat_completion(
    body: ChatCompletionRequest, request: Request, service: ServiceDependency
) -> Response:
    """Answer a conversation."""
    settings = service.settings_for(request)
    route = service.route(request, body.model)
    plan = await plan_chat(body, route.served, settings)
    head = {
        "id": f"chatcmpl-{uuid4().hex}",
        "created": int(time.time()),
        "model": route.id,
        "system_fingerprint": route.served.system_fingerprint,
    }
    if body.stream:
        chunks = ChatChunks(head, body.include_usage, len(plan.choices))
        return EventStream(route, plan, chunks, settings.http.ping_seconds)
    with Generation(route, plan, request.scope, request.receive) as generation:
        choices = await generation.collect()
    completion = ChatCompletion(
        **head,
        choices=[
            ChatChoice(
                index=index,
                # The prompt ends in "Assistant:", so the first token brings a space.
                message=AssistantMessage(content=choice.text.lstrip()),
                finish_reason=choice.finish_reason,
            )
            for index, choice in enumerate(choices)
        ],
        usage=generation.tokens.usage(),
    )
    return Response(completion.model_dump_json(), media_type="application/json")
