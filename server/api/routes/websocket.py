"""GET /v1/responses with Upgrade: websocket: one connection for the turns of a conversation."""

from fastapi import APIRouter, Request, Response

from server.api.dependencies import ServiceDependency
from server.api.errors import ApiError
from server.api.responses.connection_memory import ConnectionMemory
from server.api.schemas.errors import ERROR_RESPONSES
from server.api.websocket.handshake import accepted, offers_websocket
from server.api.websocket.session import WebSocketResponse

router = APIRouter(tags=["responses"], responses=ERROR_RESPONSES)


@router.get("/v1/responses", include_in_schema=False)
async def open_websocket(request: Request, service: ServiceDependency) -> Response:
    """Messages of the type response.create, each answered by the events of its stream."""
    if not offers_websocket(request.scope):
        message = "Method Not Allowed: GET /v1/responses; POST a request, or open a WebSocket"
        error = ApiError("method_not_allowed", message)
        error.headers = {"allow": "POST"}
        raise error
    agreed = accepted(request.scope)
    memory, http = ConnectionMemory(service.local_responses), service.settings.http
    return WebSocketResponse(
        request.app, agreed, http.max_body_bytes, http.ping_seconds, memory, memory.forget
    )
