"""POST /v1/embeddings."""

import msgspec
from fastapi import APIRouter, Request, Response

from server.api.dependencies import ServiceDependency
from server.api.generation import Generation
from server.api.plan import plan_embeddings
from server.api.schemas.embeddings import EmbeddingList, EmbeddingRequest, EmbeddingUsage
from server.api.schemas.errors import ERROR_RESPONSES
from server.api.tenant import owner_of
from server.api.vectors import encode_item, vector_of

router = APIRouter(tags=["embeddings"], responses=ERROR_RESPONSES)


@router.post("/v1/embeddings", response_model=EmbeddingList)
async def create_embeddings(
    body: EmbeddingRequest, request: Request, service: ServiceDependency
) -> Response:
    """A vector for each input."""
    settings, owner = service.settings_for(request), owner_of(request)
    route = service.route(request, body.model)
    plan = await plan_embeddings(body, route.served, settings, owner)
    plan = await service.go_on(plan, body, owner.tenant, route)
    items: dict[int, bytes] = {}
    with Generation(route, plan, request.scope, request.receive) as generation:
        while generation.running:
            # Each as it comes, so that no large answer is made at once on the event loop.
            for news in await generation.news():
                embedding = generation.choices[news.index].embedding
                vector = vector_of(embedding, body.dimensions, body.normalize)
                items[news.index] = encode_item(news.index, vector, body.encoding_format)
    tokens = generation.tokens.prompt
    answer = {
        "object": "list",
        "data": [msgspec.Raw(items[index]) for index in range(len(plan.choices))],
        "model": route.id,
        "usage": EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens).model_dump(),
    }
    return Response(msgspec.json.encode(answer), media_type="application/json")
