"""POST /v1/rerank, under three names, and POST /v1/score."""

import time
from collections.abc import Sequence
from uuid import uuid4

from fastapi import APIRouter, Request, Response

from server.api.bodies.route import JsonRoute
from server.api.choices import TokenCount
from server.api.dependencies import Service, ServiceDependency
from server.api.generation import Generation
from server.api.relevance import Pair, Relevances, cut_documents, plan_relevance, relevance_of
from server.api.schemas.errors import ERROR_RESPONSES
from server.api.schemas.rerank import (
    Rerank,
    RerankRequest,
    RerankResult,
    Score,
    ScoredDocument,
    ScoreList,
    ScoreRequest,
    ScoringRequest,
    ScoringUsage,
)
from server.api.tenant import owner_of
from server.registry.manager import Route

router = APIRouter(tags=["rerank"], responses=ERROR_RESPONSES, route_class=JsonRoute)


@router.post("/rerank", response_model=Rerank)
@router.post("/v1/rerank", response_model=Rerank)
@router.post("/v2/rerank", response_model=Rerank)
async def rerank(body: RerankRequest, request: Request, service: ServiceDependency) -> Response:
    """Sort documents by how well they go with a query."""
    route = service.route(request, body.model)
    limit, tokenizer = body.max_tokens_per_doc, route.served.tokenizer
    documents = await cut_documents(body.documents, limit, "documents", tokenizer)
    pairs = [Pair(body.query, document) for document in documents]
    names = ("query", "documents")
    scores, usage = await _scores(body, pairs, names, route, request, service)
    order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    answer = Rerank(
        id=f"rerank-{uuid4().hex}",
        model=route.id,
        results=[
            RerankResult(
                index=index,
                relevance_score=scores[index],
                document=ScoredDocument(text=documents[index]) if body.return_documents else None,
            )
            for index in order[: body.top_n]
        ],
        usage=usage,
    )
    content = answer.model_dump_json(exclude_none=True)
    return Response(content, media_type="application/json")


@router.post("/score")
@router.post("/v1/score")
async def score(body: ScoreRequest, request: Request, service: ServiceDependency) -> ScoreList:
    """How well each pair of texts goes together."""
    route = service.route(request, body.model)
    limit, tokenizer = body.max_tokens_per_doc, route.served.tokenizer
    documents = await cut_documents(body.text_2, limit, body.names[1], tokenizer)
    queries = body.text_1 * (len(documents) if len(body.text_1) == 1 else 1)
    pairs = [*map(Pair, queries, documents)]
    scores, usage = await _scores(body, pairs, body.names, route, request, service)
    return ScoreList(
        id=f"score-{uuid4().hex}",
        created=int(time.time()),
        model=route.id,
        data=[Score(index=index, score=each) for index, each in enumerate(scores)],
        usage=usage,
    )


async def _scores(
    body: ScoringRequest,
    pairs: Sequence[Pair],
    names: tuple[str, str],
    route: Route,
    request: Request,
    service: Service,
) -> tuple[list[float], ScoringUsage]:
    settings, owner = service.settings_for(request), owner_of(request)
    plan = await plan_relevance(body, pairs, names, route.served, settings, owner)
    plan = await service.go_on(plan, body, owner.tenant, route)
    with Generation(route, plan, request.scope, request.receive) as generation:
        relevances = Relevances(len(plan.choices))
        choices = await generation.collect(relevances.add)
    scores = (
        [relevance_of(choice.embedding) for choice in choices]
        if route.served.reranks
        else relevances.scores()
    )
    return scores, _usage(generation.tokens)


def _usage(tokens: TokenCount) -> ScoringUsage:
    usage = tokens.usage()
    return ScoringUsage(
        prompt_tokens=usage.prompt_tokens,
        total_tokens=usage.total_tokens,
        prompt_tokens_details=usage.prompt_tokens_details,
    )
