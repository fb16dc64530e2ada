"""A bound on the memory that bodies take, all of them together."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api.bodies.budget import Budget, Share, Stage
from server.api.call import call_of
from server.api.errors import ApiError, ClientGoneError
from server.api.text_threads import disconnected

FREE_BYTES = 64 << 10
"""Of a body, which count for nothing: ordinary requests never wait to be read."""
FREE_VALUES = 256 << 10
"""Bytes of what is made of a body, likewise."""
_PATIENCE_SECONDS = 30.0
_RETRY_SECONDS = 5.0


class BodyMemory:
    """Bounds what all requests hold of their bodies, as Budget says.

    A body counts as it comes, not as it was announced. Then what is made of it counts, until its
    request has been answered. Beyond the bound bodies wait, unread or as bytes, and their requests
    are refused when that takes too long.

    A path that says it keeps its bodies elsewhere is left alone.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        is_kept_elsewhere: Callable[[str], bool],
        patience: float = _PATIENCE_SECONDS,
    ) -> None:
        self._app = app
        self._is_kept_elsewhere = is_kept_elsewhere
        self._budget = Budget(max_bytes, patience)

    @property
    def held(self) -> int:
        """Bytes that count now."""
        return self._budget.held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_kept_elsewhere(scope["path"]):
            await self._app(scope, receive, send)
            return
        share, received, is_whole = Share(), 0, False

        async def receive_with_room() -> Message:
            nonlocal received, is_whole
            if is_whole:  # only the end of the connection is still to come
                return await receive()
            if share.size:
                await _in_time(self._budget.read_on(share))
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                is_whole = not message.get("more_body", False)
                stage = Stage.WHOLE if is_whole else Stage.COMING
                self._budget.put(share, stage, max(0, received - FREE_BYTES))
            return message

        async def hold_values(size: int) -> None:
            counted = max(0, size - FREE_VALUES)
            if not self._budget.make_now(share, counted):
                await _in_time(_unless_gone(self._budget.make(share, counted), receive))

        call_of(scope).hold_values = hold_values
        try:
            await self._app(scope, receive_with_room, send)
        finally:
            self._budget.remove(share)


async def hold_values(scope: Scope, size: int) -> None:
    """Wait until there is room for values of so many bytes, made of the body of a request.

    Raises ApiError.
    """
    if (hold := call_of(scope).hold_values) is not None:
        await hold(size)


async def _unless_gone(waiting: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Wait, as long as the client does, whose request is there as a whole."""
    both = asyncio.create_task(waiting), asyncio.create_task(disconnected(receive))
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not both[0].done():
            raise ClientGoneError
        both[0].result()
    finally:
        for task in both:
            task.cancel()


async def _in_time(waiting: Awaitable[None]) -> None:
    try:
        await waiting
    except TimeoutError:
        message = "Try again later: the server holds as many large request bodies as it can"
        raise ApiError("queue_full", message, retry_after=_RETRY_SECONDS) from None
