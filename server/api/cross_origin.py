"""Web pages: of which origins they may call the API from a browser, and what they may see."""

from collections.abc import Collection

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from server.api.responses.tools import IGNORED_HEADER
from server.api.trained_length import HEADER

_METHODS = ("GET", "POST", "PATCH", "DELETE")
_SHOWN = (
    *("x-request-id", "request-id", "retry-after", "x-should-retry", IGNORED_HEADER, HEADER),
    *(f"x-ratelimit-{what}-requests" for what in ("limit", "remaining", "reset")),
    *(f"x-ratelimit-{what}-tokens" for what in ("limit", "remaining", "reset")),
)
"""Headers of answers that clients go by: a browser hides all that are not named."""


def let_pages_call(app: FastAPI, origins: Collection[str]) -> None:
    """Tell browsers that pages of these origins may; without any, browsers let none.

    Outside of all checks: browsers ask without a key whether a page may ask.
    """
    if not origins:
        return
    app.add_middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=_METHODS,
        allow_headers=("*",),
        expose_headers=_SHOWN,
        allow_private_network=True,  # of a server on one's own machine
    )
