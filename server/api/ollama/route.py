"""Routes whose bodies are JSON, whatever their type is said to be."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

_JSON = (b"content-type", b"application/json")


class OllamaRoute(APIRoute):
    """Reads a body as JSON, as Ollama does: its examples are calls of curl that do not say so.

    Not for web pages, which have an origin: only with the right type do browsers ask before they
    send it to another site.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, of a request that says JSON."""
        handler = super().get_route_handler()

        async def of_json(request: Request) -> Response:
            if "origin" in request.headers:
                return await handler(request)
            others = [each for each in request.scope["headers"] if each[0] != _JSON[0]]
            request.scope["headers"] = [*others, _JSON]
            return await handler(Request(request.scope, request.receive))

        return of_json
