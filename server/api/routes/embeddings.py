"""POST /v1/embeddings."""

from fastapi import APIRouter, Request, Response

from server.api.bodies.route import JsonRoute
from server.api.dependencies import ServiceDependency
from server.api.embedding_plan import plan_embeddings
from server.api.generation import Generation
from server.api.schemas.embeddings import EmbeddingList, EmbeddingRequest, EmbeddingUsage
from server.api.schemas.errors import ERROR_RESPONSES
from server.api.sending import JsonResponse
from server.api.tenant import owner_of
from server.api.vectors import collect_vectors, encode_item, vector_of
from server.json_pieces import JsonList

router = APIRouter(tags=["embeddings"], responses=ERROR_RESPONSES, route_class=JsonRoute)


@router.post("/v1/embeddings", response_model=EmbeddingList)
async def create_embeddings(
    body: EmbeddingRequest, request: Request, service: ServiceDependency
) -> Response:
    """A vector for each input."""
    settings, owner = service.settings_for(request), owner_of(request)
    route = service.route(request, body.model)
    plan = await plan_embeddings(body, route.served, settings, owner)
    plan = await service.go_on(plan, body, owner.tenant, route)

    def encode(index: int, embedding: bytes) -> bytes:
        vector = vector_of(embedding, body.dimensions, body.normalize)
        return encode_item(index, vector, body.encoding_format)

    with Generation(route, plan, request.scope, request.receive) as generation:
        items = await collect_vectors(generation, encode)
    tokens = generation.tokens.prompt
    answer = {
        "object": "list",
        "data": JsonList(items),
        "model": route.id,
        "usage": EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens).model_dump(),
    }
    return JsonResponse(answer)
