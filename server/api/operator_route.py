"""Routes for whoever operates the server."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response

from server.access.local_program import why_not_local
from server.api.access import caller_of
from server.api.bodies.route import JsonRoute
from server.api.errors import ApiError


class OperatorRoute(JsonRoute):
    """Serves keys of role admin and, without keys, programs on this machine.

    A class of routes, not a dependency: those are asked when the body has been read.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, after the check."""
        handler = super().get_route_handler()

        async def checked(request: Request) -> Response:
            check_is_operator(request)
            return await handler(request)

        return checked


def check_is_operator(request: Request) -> None:
    """Raises ApiError: admin_refused."""
    caller = caller_of(request)
    if caller.name:
        if caller.role != "admin":
            raise ApiError("admin_refused", "Only keys of role admin may do this")
        return
    peer = request.client.host if request.client is not None else ""
    why = why_not_local(peer, request.scope["http_version"], request.headers)
    if why:
        raise ApiError(
            "admin_refused",
            f"Without API keys only programs on the server's own machine may do this: {why}; "
            "use a key of role admin",
        )
