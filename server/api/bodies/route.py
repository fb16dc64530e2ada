"""Routes whose bodies are JSON: counted, parsed and validated before FastAPI sees them.

FastAPI would do it on the event loop, whatever their size.
"""

from collections.abc import Callable, Coroutine
from email.message import Message
from typing import Any

from fastapi import Request, Response
from fastapi._compat import ModelField
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from server.api.bodies.memory import hold_values
from server.api.bodies.parse import check, max_numbers, parse
from server.api.bodies.threads import off_loop
from server.api.call import call_of
from server.config import Settings


class JsonRoute(APIRoute):
    """Reads a JSON body, and hands FastAPI the finished model, or raises what FastAPI would.

    What is not said to be JSON, and a body without a byte, are left to FastAPI.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, of a request whose body has been read."""
        handler, field = super().get_route_handler(), self.body_field
        if field is None:
            return handler

        async def of_model(request: Request) -> Response:
            if _says_json(request.headers.get("content-type", "")):
                request = await _read(request, field)
            return await handler(request)

        return of_model


class _ReadRequest(Request):
    """A request whose body is a model already, or has no byte."""

    def __init__(self, request: Request, is_empty: bool, model: Any = None) -> None:
        super().__init__(request.scope, request.receive)
        self._is_empty = is_empty
        self._model = model

    async def body(self) -> bytes:
        """Something, so that FastAPI asks for the JSON, unless there was nothing."""
        return b"" if self._is_empty else b"{}"

    async def json(self) -> Any:
        """The model: pydantic takes it as it is."""
        return self._model


def _says_json(content_type: str) -> bool:
    """As FastAPI reads it."""
    if not content_type:
        return False
    message = Message()
    message["content-type"] = content_type
    subtype = message.get_content_subtype()
    is_json = subtype == "json" or subtype.endswith("+json")
    return message.get_content_maintype() == "application" and is_json


async def _read(request: Request, field: ModelField) -> Request:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
    size = len(body)
    call_of(request.scope).body_bytes = size
    if not size:
        return _ReadRequest(request, is_empty=True)
    settings: Settings = request.app.state.service.settings
    await hold_values(
        request.scope,
        await off_loop(size, check, body, settings.http.max_body_values, max_numbers(settings)),
    )
    model = await off_loop(size, _model_of, body, field)
    return _ReadRequest(request, is_empty=False, model=model)


def _model_of(body: bytearray, field: ModelField) -> Any:
    """The model that a route wants. Raises ApiError and RequestValidationError."""
    values = parse(body)
    model, errors = field.validate(values, {}, loc=("body",))
    if errors:
        raise RequestValidationError(errors, body=values)
    return model
