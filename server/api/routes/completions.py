"""POST /v1/completions."""

import asyncio
import time
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request, Response

from server.api.best_of import best_choices
from server.api.bodies.route import JsonRoute
from server.api.call import usage_so_far
from server.api.choices import GeneratedChoice
from server.api.chunks import CompletionChunks
from server.api.completion_form import CompletionForm
from server.api.dependencies import ServiceDependency
from server.api.generation import Generation
from server.api.plan import plan_completion
from server.api.saving import CompletionEnding, open_saving
from server.api.schemas.completions import Completion, CompletionChoice, CompletionRequest
from server.api.schemas.errors import ERROR_RESPONSES
from server.api.sending import JsonResponse
from server.api.shown_logprobs import CompletionLogprobs
from server.api.sse import EventStream
from server.api.tenant import owner_of
from server.json_pieces import JsonList, JsonText, encode_pieces

router = APIRouter(tags=["generation"], route_class=JsonRoute)


@router.post("/v1/completions", response_model=Completion, responses=ERROR_RESPONSES)
async def create_completion(
    body: CompletionRequest, request: Request, service: ServiceDependency
) -> Response:
    """Continue one prompt or several."""
    settings, owner = service.settings_for(request), owner_of(request)
    route = service.route(request, body.model)
    plan = await plan_completion(body, route.served, settings, owner, service.grammars)
    plan = await service.go_on(plan, body, owner.tenant, route)
    saving = None
    if body.save_state:
        saving = await open_saving(service.states, owner.tenant, route, plan, CompletionEnding())
    head = {
        "id": f"cmpl-{uuid4().hex}",
        "created": int(time.time()),
        "model": route.id,
        "system_fingerprint": route.served.system_fingerprint,
    }
    tokenizer = route.served.tokenizer if body.wanted_logprobs >= 0 else None
    form = CompletionForm(plan, tokenizer)
    if body.stream:
        so_far = usage_so_far(request) if body.continuous_usage else None
        chunks = CompletionChunks(head, body.include_usage, form, so_far)
        return EventStream(route, plan, chunks, settings.http.ping_seconds, saving)
    with Generation(route, plan, request.scope, request.receive) as generation:
        logprobs = CompletionLogprobs(form)
        choices = best_choices(plan, await generation.collect(logprobs.add))
        state_id = await saving.save(generation) if saving else None
    usage = generation.tokens.usage()
    answer = Completion(**head, choices=[], usage=usage, state_id=state_id).model_dump()
    answer["choices"] = shown = JsonList()
    for index, choice in enumerate(choices):
        shown.append(
            encode_pieces(
                _choice(
                    index, choice, form.text(choice.index, choice.text), logprobs.take(choice.index)
                )
            )
        )
        await asyncio.sleep(0)  # others go on meanwhile
    if not state_id:
        del answer["state_id"]
    return JsonResponse(answer)


def _choice(
    index: int, choice: GeneratedChoice, text: str | JsonText, logprobs: dict[str, Any] | None
) -> dict[str, Any]:
    assert choice.finish_reason in ("stop", "length")
    shown = CompletionChoice(text="", index=index, finish_reason=choice.finish_reason)
    return shown.model_dump() | {"text": text, "logprobs": logprobs}
