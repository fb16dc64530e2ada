"""Routes whose bodies are JSON, whatever their type is said to be."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response

from server.api.bodies.route import JsonRoute

_JSON = (b"content-type", b"application/json")


class OllamaRoute(JsonRoute):
    """Reads a body as JSON, as Ollama does: its examples are calls of curl that do not say so.

    Browsers send other types to another site without asking; OriginCheck in web_pages.py refuses
    that.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, of a request that says JSON."""
        handler = super().get_route_handler()

        async def of_json(request: Request) -> Response:
            others = [each for each in request.scope["headers"] if each[0] != _JSON[0]]
            request.scope["headers"] = [*others, _JSON]
            return await handler(Request(request.scope, request.receive))

        return of_json
