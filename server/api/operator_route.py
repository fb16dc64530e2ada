"""Routes for whoever operates the server."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from server.access.loopback import is_loopback
from server.api.access import caller_of
from server.api.errors import ApiError

# A proxy adds the first two, and a client may write anything into them; a browser adds the third.
_SENT_ON_BEHALF = ("x-forwarded-for", "forwarded", "origin")


class OperatorRoute(APIRoute):
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
    # Without keys other machines are refused, and what proxies and browsers send for others.
    is_local = request.client is not None and is_loopback(request.client.host)
    if not is_local or any(name in request.headers for name in _SENT_ON_BEHALF):
        raise ApiError("admin_refused", "Only programs on the server's own machine may do this")
