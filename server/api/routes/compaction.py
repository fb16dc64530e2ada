"""/v1/responses/compact: a conversation becomes a state, and one item that stands for it."""

import secrets
import time

from fastapi import APIRouter, Request

from server.api.bodies.route import JsonRoute
from server.api.bodies.threads import off_loop
from server.api.dependencies import ServiceDependency
from server.api.generation import Generation
from server.api.plan import plan_state
from server.api.responses.chat_request import as_state
from server.api.responses.compaction import compaction_item, resumption
from server.api.responses.items import as_kept, references
from server.api.responses.turn import ITEM_BYTES, tools_of
from server.api.schemas.compaction import CompactionObject, CompactRequest
from server.api.schemas.errors import ERROR_RESPONSES
from server.api.schemas.response_object import ResponseUsage
from server.api.schemas.states import StateOptions
from server.api.states import StateContent
from server.api.tenant import owner_of

router = APIRouter(tags=["responses"], responses=ERROR_RESPONSES, route_class=JsonRoute)

_NAME = "compaction"
"""That of its state, in the list of states."""


@router.post("/v1/responses/compact")
async def compact(
    body: CompactRequest, request: Request, service: ServiceDependency
) -> CompactionObject:
    """Read a conversation once; the next turns go on from the output."""
    owner, kept = owner_of(request), service.conversations
    route = service.route(request, body.model)
    await service.states.check_room(owner.tenant, route)
    context = await kept.context(owner.tenant, body.previous_response_id, None)
    known = await kept.find_items(owner.tenant, references(body.input))
    added = await off_loop(ITEM_BYTES * len(body.input), as_kept, body.input, known)
    said = [*context.items, *added]
    tools = tools_of(body.tools, said)
    resumed = resumption(context.items, added, body.instructions, tools, route)
    size = ITEM_BYTES * len(said)
    state_request = await off_loop(size, as_state, body, said, tools, resumed)
    settings = service.settings_for(request)
    plan = await plan_state(state_request, size, route.served, settings, owner)
    if resumed is not None:
        plan = plan.after(await resumed.state(service.states, owner.tenant, route))
    with Generation(route, plan, request.scope, request.receive) as generation:
        (choice,) = await generation.collect()
    tokens = plan.base_tokens + len(plan.prompts[0])
    content = StateContent.of(route, tokens, choice.state)
    state = await service.states.add(owner.tenant, content, StateOptions(name=_NAME))
    heard = [item for item in said if item["type"] == "message" and item["role"] == "user"]
    return CompactionObject(
        id=f"resp_{secrets.token_hex(24)}",
        created_at=int(time.time()),
        output=[*heard, compaction_item(state.id, body.instructions, tools)],
        usage=ResponseUsage.of(generation.tokens.usage()),
    )
