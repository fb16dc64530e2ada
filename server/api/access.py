"""Who calls, and whether a request may begin: what server/access decides, in terms of HTTP."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.access.admission import Admission, Refusal, Ticket
from server.access.caller import ANYBODY, Caller
from server.access.keys import Keys
from server.api.call import call_of
from server.api.errors import ApiError, error_response

OPEN_PATHS = frozenset(("/", "/health", "/live", "/ready"))
"""What needs no key: load balancers and supervisors ask."""


class Authentication:
    """Refuses requests without a valid key, before anything of their body is read.

    What this process asks itself for somebody (api/batch_lines.py) brings its `caller` and
    `admission` along; nothing that comes over a socket can.

    Puts `caller` and `admission` into the call, and the rate limits of a caller
    whose request came to be admitted or refused by them into the headers of the response.
    """

    def __init__(self, app: ASGIApp, keys: Keys, admission: Admission) -> None:
        self._app = app
        self._keys = keys
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        call = call_of(scope)
        is_open = scope["path"] in OPEN_PATHS or not self._keys.required
        caller = call.caller or (
            ANYBODY if is_open else self._keys.owner_of(_key_of(Headers(scope=scope)))
        )
        if caller is None:
            # The same for no key and a wrong one.
            error = ApiError(
                "invalid_api_key", "A valid API key is needed, as Authorization: Bearer KEY"
            )
            await error_response(error)(scope, receive, send)
            return
        call.caller = caller
        call.admission = call.admission or self._admission
        account = call.admission.account(caller)

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start" and call.shows_rate_limits:
                added = [(name.encode(), text.encode()) for name, text in account.headers.items()]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        await self._app(scope, receive, send_with_limits)


def caller_of(request: Request) -> Caller:
    """Whoever made the request; its key, if keys are needed, is verified."""
    caller = call_of(request.scope).caller
    assert caller is not None
    return caller


def admit(scope: Scope, prompts: Sequence[int], choices: int, at_once: int | None = None) -> Ticket:
    """Admit so many choices of each prompt, whose tokens are given, or raise ApiError.

    `at_once` is that of Admission.admit().
    """
    call = call_of(scope)
    assert call.admission is not None
    assert call.caller is not None
    call.shows_rate_limits = True
    try:
        return call.admission.admit(call.caller, prompts, choices, at_once)
    except Refusal as error:
        raise refusal(error) from None


@asynccontextmanager
async def admitted(scope: Scope) -> AsyncIterator[Callable[[int], None]]:
    """Hold a request that asks what a text is in tokens: it counts as any other, for its time.

    Gives what charges the tokens when they are known. Raises ApiError, as admit() does, and when
    limits.total_seconds have passed.
    """
    ticket = admit(scope, [0], 1)

    def charge(tokens: int) -> None:
        try:
            ticket.charge(tokens)
        except Refusal as error:
            raise refusal(error) from None

    left = ticket.seconds_left
    try:
        async with asyncio.timeout(None if left == math.inf else left):
            yield charge
    except TimeoutError:
        raise refusal(ticket.overdue()) from None
    finally:
        ticket.close()


def refusal(error: Refusal) -> ApiError:
    """The same as an answer."""
    param = "n" if error.code == "invalid_value" else None
    message = f"Try again later: {error}" if error.retry_after is not None else f"{error}"
    return ApiError(error.code, message, param, error.retry_after)


def _key_of(headers: Headers) -> bytes:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    key = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    return key.encode("latin-1")
