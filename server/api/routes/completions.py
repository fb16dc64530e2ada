"""POST /v1/completions."""

import time
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request, Response

from server.api.best_of import best_choices
from server.api.choices import GeneratedChoice
from server.api.chunks import CompletionChunks
from server.api.completion_form import CompletionForm
from server.api.dependencies import ServiceDependency
from server.api.encoding import run_encoding
from server.api.generation import Generation
from server.api.plan import plan_completion
from server.api.saving import CompletionEnding, open_saving
from server.api.schemas.completions import Completion, CompletionRequest
from server.api.schemas.errors import ERROR_RESPONSES
from server.api.sse import EventStream
from server.api.tenant import owner_of

router = APIRouter(tags=["generation"])


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
    form = CompletionForm(plan.echoes, plan.returned, tokenizer)
    if body.stream:
        chunks = CompletionChunks(head, body.include_usage, form)
        return EventStream(route, plan, chunks, settings.http.ping_seconds, saving)
    with Generation(route, plan, request.scope, request.receive) as generation:
        choices = best_choices(plan, await generation.collect())
        state_id = await saving.save(generation) if saving else None
    answer = head | {"usage": generation.tokens.usage(), "state_id": state_id}
    logprobs = sum(len(choice.prompt_logprobs) + len(choice.logprobs) for choice in choices)
    # Each makes some 30 characters and more.
    content = await run_encoding(30 * logprobs, _render, answer, choices, form)
    return Response(content, media_type="application/json")


def _render(answer: dict[str, Any], choices: list[GeneratedChoice], form: CompletionForm) -> str:
    shown = [
        {
            "index": index,
            "text": form.echo(index) + choice.text,
            "logprobs": form.logprobs(index, choice.prompt_logprobs, choice.logprobs),
            "finish_reason": choice.finish_reason,
        }
        for index, choice in enumerate(choices)
    ]
    completion = Completion.model_validate({**answer, "choices": shown})
    return completion.model_dump_json(exclude=None if answer["state_id"] else {"state_id"})
