"""POST /v1/chooses."""

from fastapi import APIRouter, Request, Response

from server.api.bodies.route import JsonRoute
from server.api.dependencies import ServiceDependency
from server.api.generation import Generation
from server.api.perplexity import Perplexities, plan_choices
from server.api.schemas.chooses import Choice, ChooseList, ChooseRequest
from server.api.schemas.errors import ERROR_RESPONSES
from server.api.sending import JsonResponse
from server.api.tenant import owner_of

router = APIRouter(tags=["rerank"], responses=ERROR_RESPONSES, route_class=JsonRoute)


@router.post("/v1/chooses", response_model=ChooseList)
async def choose(body: ChooseRequest, request: Request, service: ServiceDependency) -> Response:
    """Rank some texts by how well each follows another one, as Ai00 does."""
    settings, owner = service.settings_for(request), owner_of(request)
    route = service.route(request, body.model)
    plan = await plan_choices(body, route.served, settings, owner)
    plan = await service.go_on(plan, body, owner.tenant, route)
    perplexities = Perplexities(len(body.choices), body.calibrate)
    with Generation(route, plan, request.scope, request.receive) as generation:
        await generation.collect(perplexities.add)
    values = perplexities.values()
    best_first = sorted(range(len(values)), key=values.__getitem__)
    chosen = [
        Choice(index=index, rank=rank, choice=body.choices[index], perplexity=values[index])
        for rank, index in enumerate(best_first)
    ]
    return JsonResponse(ChooseList(model=route.id, data=chosen).model_dump())
