"""Threads for what large bodies need: as few as keep the event loop and the memory free."""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.types import Scope

from server.api.call import call_of

T = TypeVar("T")

SMALL_BODY = 16 << 10
"""Bytes; what such a body needs is done on the event loop, in a millisecond or two."""
_LARGE_BODY = 1 << 20

# One thread each: more would only wait for the interpreter's lock, each with a body in memory, and
# a body of some pages should not wait for those of some megabytes.
_MEDIUM = ThreadPoolExecutor(1, "bodies")
_LARGE = ThreadPoolExecutor(1, "large-bodies")


async def off_loop(size: int, function: Callable[..., T], *args: Any) -> T:
    """Call it here for a body of few bytes, else in a thread."""
    if size <= SMALL_BODY:
        return function(*args)
    executor = _MEDIUM if size <= _LARGE_BODY else _LARGE
    context = contextvars.copy_context()  # log lines have the request's id
    run = asyncio.get_running_loop().run_in_executor
    return await run(executor, context.run, function, *args)


def body_bytes(scope: Scope) -> int:
    """How many bytes the JSON body of a request had."""
    return call_of(scope).body_bytes
