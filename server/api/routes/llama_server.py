"""/completion, /infill and /props: what the clients of llama.cpp's server ask."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from server.api.bodies.route import JsonRoute
from server.api.call import usage_so_far
from server.api.dependencies import Service, ServiceDependency
from server.api.embedding_plan import plan_embeddings
from server.api.errors import ApiError
from server.api.filling import Gap
from server.api.generation import Generation
from server.api.llama_server.answer import NO_LIMIT, NativeAnswers
from server.api.llama_server.request import completion_of, embedding_of, filling_of
from server.api.plan import plan_completion
from server.api.schemas.completions import CompletionRequest
from server.api.schemas.errors import ERROR_RESPONSES
from server.api.schemas.llama_server import (
    InfillRequest,
    NativeAnswer,
    NativeEmbedding,
    NativeEmbeddingRequest,
    NativeRequest,
    Properties,
)
from server.api.sending import JsonResponse
from server.api.sse import EventStream, Framing
from server.api.tenant import owner_of
from server.api.vectors import collect_vectors, vector_of
from server.json_pieces import JsonList
from server.version import VERSION

router = APIRouter(tags=["llama.cpp"], responses=ERROR_RESPONSES, route_class=JsonRoute)

_FRAMING = Framing(end=b"")
_Answer = NativeAnswer | dict[str, Any]
"""The second with `response_fields`."""
_Answers = _Answer | list[_Answer]


@router.post("/completion", response_model=_Answers)
async def native_completion(
    body: NativeRequest, request: Request, service: ServiceDependency
) -> Response:
    """Continue a text, as llama.cpp's server does."""
    limits = service.settings_for(request).limits
    return await _answer(body, completion_of(body, limits), None, request, service)


@router.post("/infill", response_model=_Answers)
async def infill(body: InfillRequest, request: Request, service: ServiceDependency) -> Response:
    """Complete the text between a prefix and a suffix, as llama.cpp's server does."""
    completion, gap = filling_of(body, service.settings_for(request).limits)
    return await _answer(body, completion, gap, request, service)


@router.post("/embedding", response_model=list[NativeEmbedding])
async def native_embedding(
    body: NativeEmbeddingRequest, request: Request, service: ServiceDependency
) -> Response:
    """A vector for each input, as llama.cpp's server gives it."""
    settings, owner = service.settings_for(request), owner_of(request)
    route = service.route(request, body.model)
    embedding = embedding_of(body)
    plan = await plan_embeddings(embedding, route.served, settings, owner)

    def encode(index: int, pooled: bytes) -> bytes:
        vector = vector_of(pooled, None, embedding.normalize).tolist()
        return msgspec.json.encode({"index": index, "embedding": [vector]})

    with Generation(route, plan, request.scope, request.receive) as generation:
        return JsonResponse(JsonList(await collect_vectors(generation, encode)))


@router.get("/props")
async def properties(service: ServiceDependency) -> Properties:
    """What the default model can do, as llama.cpp's server says it."""
    name = service.models.default
    served = service.models.find(name)[0].served
    if served is None:
        raise ApiError("model_not_loaded", f"The model {name!r} is not loaded", "model")
    sampling, limits = service.settings.sampling, service.settings.limits
    params = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "n_predict": limits.default_output_tokens,
    }
    return Properties(
        default_generation_settings={"n_ctx": NO_LIMIT, "params": params},
        total_slots=service.settings.engine.max_batch,
        model_alias=name,
        chat_template=served.chat_template.source,
        fill_in_middle=served.fills_middle,
        modalities={"vision": False, "audio": False},
        build_info=f"rwkv-server {VERSION}",
    )


async def _answer(
    body: NativeRequest,
    completion: CompletionRequest,
    gap: Gap | None,
    request: Request,
    service: Service,
) -> Response:
    settings, owner = service.settings_for(request), owner_of(request)
    route = service.route(request, body.model)
    served = route.served
    plan = await plan_completion(completion, served, settings, owner, service.grammars, gap)
    plan = await service.go_on(plan, completion, owner.tenant, route)
    answers = NativeAnswers(body, route.id, plan, served.tokenizer, usage_so_far(request))
    if body.stream:
        ping_seconds = settings.http.ping_seconds
        return EventStream(route, plan, answers, ping_seconds, framing=_FRAMING)
    with Generation(route, plan, request.scope, request.receive) as generation:
        while generation.running and not answers.ended:
            for news in await generation.news():
                answers.add(news)
    results: list[dict[str, Any]] = answers.results()
    return JsonResponse(results if len(results) > 1 else results[0])
