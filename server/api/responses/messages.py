"""Messages of a WebSocket that ask for responses: what of a request means something else there."""

from fastapi import Request

from server.api.call import call_of
from server.api.errors import ApiError
from server.api.responses.connection_memory import ConnectionMemory
from server.api.schemas.responses import ResponseRequest

IGNORED_MESSAGES = ("response.processed",)
"""Types of messages that need no answer."""
_SHOWN = 64


def connection_of(request: Request) -> ConnectionMemory | None:
    """The memory of the connection, if the request came as a message."""
    return call_of(request.scope).connection


def as_request(body: ResponseRequest, request: Request) -> ResponseRequest:
    """A message as a request, whose answer is always a stream. Raises ApiError."""
    if body.type != "response.create":
        got = "nothing" if body.type is None else repr(body.type[:_SHOWN])
        message = f"type: must be response.create (got {got})"
        raise ApiError("invalid_value", message, "type")
    if body.background:
        message = "background: not over a WebSocket; POST the request instead"
        raise ApiError("unsupported_parameter", message, "background")
    begin = call_of(request.scope).begin_response
    assert begin is not None
    begin()
    return body.model_copy(update={"stream": True})
