"""The threads that encode long texts: few, for so much text at once, and not for those who left."""

import asyncio
import contextlib
import contextvars
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.errors import ApiError, ClientGoneError

T = TypeVar("T")

THREAD_CHARACTERS = 16 << 10
"""Longer texts are worked on in a thread: they would hold up every other stream."""

SHORT_CHARACTERS = 256 << 10
"""Texts of so many do not wait for longer ones."""

MOST_CHARACTERS = 48 << 20
"""Of all texts that are encoded or wait for it; a text that is longer has to be the only one."""

_HOLD, _BREATH = 0.001, 50e-6  # seconds of work, and after them for other threads

_receive: ContextVar[Receive | None] = ContextVar("receive", default=None)


class UnwantedError(Exception):
    """Nobody waits any more for what this thread works on."""


@dataclass
class _Job:
    is_unwanted: bool = False
    breathed: float = 0.0
    """When other threads last had their turn."""


_job: ContextVar[_Job | None] = ContextVar("job", default=None)


class ClientWatch:
    """Lets run() know whether the client of a request is still there."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        token = _receive.set(receive)
        try:
            await self._app(scope, receive, send)
        finally:
            _receive.reset(token)


class TextThreads:
    """One thread for long texts and two for others, so that these do not wait for long ones."""

    def __init__(self, most_characters: int = MOST_CHARACTERS) -> None:
        self._most = most_characters
        self._characters = 0
        self._long = ThreadPoolExecutor(1, "long-texts")
        self._short = ThreadPoolExecutor(2, "texts")

    async def run(
        self,
        size: int,
        work: Callable[..., T],
        *args: Any,
        thread: ThreadPoolExecutor | None = None,
    ) -> T:
        """Call it in a thread; `size` is about how many characters it has to do with.

        `thread` is where it has to be, if not in one of these.

        Raises ApiError: queue_full when too many wait, and client_closed_request.
        """
        if self._characters and self._characters + size > self._most:
            raise ApiError(
                "queue_full",
                "Try again later: the server already encodes texts of "
                f"{self._characters} characters; {self._most} may wait",
                retry_after=2.0,
            )
        job = _Job()
        context = contextvars.copy_context()
        context.run(_job.set, job)
        threads = thread or (self._short if size <= SHORT_CHARACTERS else self._long)
        self._characters += size
        # The last to know is the loop: until then the text counts, wanted or not.
        loop = asyncio.get_running_loop()
        begun = loop.run_in_executor(threads, context.run, _unless_unwanted, work, *args)
        begun.add_done_callback(lambda _: self._ended(begun, size))
        try:
            return await _or_gone(begun)
        finally:
            job.is_unwanted = True

    def _ended(self, begun: "asyncio.Future[Any]", size: int) -> None:
        self._characters -= size
        with contextlib.suppress(asyncio.CancelledError):
            begun.exception()  # whoever waited for it may be gone


TEXT_THREADS = TextThreads()
"""Those of this process."""


def breathe() -> None:
    """Let other threads go on, now and then. Raises UnwantedError when nobody waits for this one.

    Without effect outside of such threads.
    """
    job = _job.get()
    if job is None:
        return
    if job.is_unwanted:
        raise UnwantedError
    if time.monotonic() - job.breathed > _HOLD:
        time.sleep(_BREATH)
        job.breathed = time.monotonic()


async def disconnected(receive: Receive) -> None:
    """Return when the client has left; its request must have come as a whole."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _unless_unwanted(work: Callable[..., T], *args: Any) -> T:
    breathe()
    return work(*args)


async def _or_gone(begun: "asyncio.Future[T]") -> T:
    receive = _receive.get()
    if receive is None:
        return await asyncio.shield(begun)
    gone = asyncio.create_task(disconnected(receive))
    try:
        both: list[asyncio.Future[Any]] = [begun, gone]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            raise ClientGoneError
        return begun.result()
    finally:
        gone.cancel()
