"""/v1/conversations: lists of items that responses read and add to."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from server.api.bodies.route import JsonRoute
from server.api.dependencies import Service, ServiceDependency
from server.api.responses.items import as_kept, check_attachments, references
from server.api.routes.responses import item_page
from server.api.schemas.conversations import (
    ConversationObject,
    ConversationRequest,
    ConversationUpdate,
    DeletedConversation,
    ItemList,
    ItemsQuery,
    ItemsRequest,
)
from server.api.schemas.errors import ERROR_RESPONSES
from server.api.schemas.items import InputItem
from server.api.sending import JsonResponse
from server.api.tenant import owner_of
from server.json_pieces import JsonDocument
from server.stores.responses.records import Conversation, Item

router = APIRouter(tags=["conversations"], responses=ERROR_RESPONSES, route_class=JsonRoute)

_PATH = "/v1/conversations/{id}"


@router.post("/v1/conversations")
async def create_conversation(
    request: Request, service: ServiceDependency, body: ConversationRequest | None = None
) -> ConversationObject:
    """A new conversation, which may begin with some items."""
    kept, tenant = service.conversations, owner_of(request).tenant
    body = body or ConversationRequest()
    items = await _kept_items(service, tenant, body.items)
    return _describe(await kept.call(kept.conversations.add, tenant, body.metadata, items))


@router.get(_PATH)
async def get_conversation(
    id: str, request: Request, service: ServiceDependency
) -> ConversationObject:
    """A conversation without its items."""
    kept, tenant = service.conversations, owner_of(request).tenant
    return _describe(await kept.call(kept.conversations.get, tenant, id))


@router.post(_PATH)
async def update_conversation(
    id: str, body: ConversationUpdate, request: Request, service: ServiceDependency
) -> ConversationObject:
    """Replace the metadata."""
    kept, tenant = service.conversations, owner_of(request).tenant
    return _describe(await kept.call(kept.conversations.update, tenant, id, body.metadata))


@router.delete(_PATH)
async def delete_conversation(
    id: str, request: Request, service: ServiceDependency
) -> DeletedConversation:
    """Delete a conversation, its items, and the responses that belong to it; those end."""
    kept, tenant = service.conversations, owner_of(request).tenant
    for unfinished in await kept.call(kept.conversations.remove, tenant, id):
        service.background.forget(unfinished)
    return DeletedConversation(id=id)


@router.get(f"{_PATH}/items", response_model=ItemList)
async def list_items(
    id: str, query: Annotated[ItemsQuery, Query()], request: Request, service: ServiceDependency
) -> Response:
    """A page of the items, the latest first."""
    kept, tenant = service.conversations, owner_of(request).tenant
    return await item_page(kept, kept.conversations.items, tenant, id, query)


@router.post(f"{_PATH}/items", response_model=ItemList)
async def create_items(
    id: str, body: ItemsRequest, request: Request, service: ServiceDependency
) -> Response:
    """Append items."""
    kept, tenant = service.conversations, owner_of(request).tenant
    items = await _kept_items(service, tenant, body.items)
    page = await kept.call(kept.conversations.add_items, tenant, id, items)
    return JsonResponse(await kept.call(page.shown))


@router.get(f"{_PATH}/items/{{item_id}}", response_model=Item)
async def get_item(id: str, item_id: str, request: Request, service: ServiceDependency) -> Response:
    """One item."""
    kept, tenant = service.conversations, owner_of(request).tenant
    read = kept.conversations.item
    return JsonResponse(await kept.call(lambda: JsonDocument(read(tenant, id, item_id))))


@router.delete(f"{_PATH}/items/{{item_id}}")
async def delete_item(
    id: str, item_id: str, request: Request, service: ServiceDependency
) -> ConversationObject:
    """Delete an item; gives its conversation."""
    kept, tenant = service.conversations, owner_of(request).tenant
    return _describe(await kept.call(kept.conversations.remove_item, tenant, id, item_id))


async def _kept_items(service: Service, tenant: str, items: Sequence[InputItem]) -> list[Item]:
    check_attachments(items, "items", only_last=False)
    known = await service.conversations.find_items(tenant, references(items))
    return await asyncio.to_thread(as_kept, items, known)


def _describe(conversation: Conversation) -> ConversationObject:
    return ConversationObject(
        id=conversation.id,
        created_at=int(conversation.created),
        metadata=conversation.metadata,
    )
