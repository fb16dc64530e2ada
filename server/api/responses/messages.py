"""Messages of a WebSocket that ask for responses: what of a request means something else there."""

from fastapi import Request

from server.api.errors import ApiError
from server.api.responses.connection_memory import ConnectionMemory
from server.api.schemas.responses import ResponseRequest
from server.api.websocket.session import BEGIN

STATE = "websocket"
"""Where the state of such a request has the memory of its connection."""
IGNORED_MESSAGES = ("response.processed",)
"""Types of messages that need no answer."""
_SHOWN = 64


def connection_of(request: Request) -> ConnectionMemory | None:
    """The memory of the connection, if the request came as a message."""
    memory = request.scope["state"].get(STATE)
    assert memory is None or isinstance(memory, ConnectionMemory)
    return memory


def as_request(body: ResponseRequest, request: Request) -> ResponseRequest:
    """A message as a request, whose answer is always a stream. Raises ApiError."""
    if body.type != "response.create":
        got = "nothing" if body.type is None else repr(body.type[:_SHOWN])
        message = f"type: must be response.create (got {got})"
        raise ApiError("invalid_value", message, "type")
    if body.background:
        message = "background: not over a WebSocket; POST the request instead"
        raise ApiError("unsupported_parameter", message, "background")
    request.scope["state"][BEGIN]()
    return body.model_copy(update={"stream": True})
