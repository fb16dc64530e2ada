"""A BodyMemory over an app whose requests a test lets come, wait and end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from server.api.bodies import budget, memory
from server.api.bodies.memory import BodyMemory, hold_values
from tests.api.harness import Harness
from tests.fakes import PATIENCE

BOUND = 1000
AHEAD = 10
FREE = 20
NEVER = 1e9  # seconds


def set_few_bytes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(memory, "FREE_BYTES", FREE)
    patch.setattr(memory, "FREE_VALUES", FREE)
    patch.setattr(budget, "AHEAD_BYTES", AHEAD)


class Server:
    """A BodyMemory over an app that reads a body, makes values of it and answers when it may."""

    def __init__(self, bound: int = BOUND, patience: float = NEVER) -> None:
        self.memory = BodyMemory(self._app, bound, lambda path: path == "/elsewhere", patience)
        self.clients: list[Client] = []

    async def _app(self, scope: Scope, receive: Receive, _: Send) -> None:
        client: Client = scope["client"]
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError
            client.read += len(message["body"])
            if not message["more_body"]:
                break
        if client.values is not None:
            await hold_values(scope, client.values)
        client.is_made = True
        leaving = asyncio.create_task(_until_gone(receive))
        await client.may_end.wait()
        client.is_gone = leaving.done()
        leaving.cancel()
        if client.fails:
            raise RuntimeError

    @property
    def held(self) -> int:
        """Bytes that apps have of bodies which are not answered."""
        return sum(client.read for client in self.clients if not client.task.done())


class Client:
    """A request, as a task of its own."""

    def __init__(
        self, server: Server, values: int | None = 0, fails: bool = False, path: str = "/"
    ) -> None:
        """Without values the app keeps the bytes."""
        self.values, self.fails = values, fails
        self.read = 0
        """By the app."""
        self.is_made = self.is_gone = False
        self.may_end = asyncio.Event()
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        scope = {"type": "http", "path": path, "client": self}
        server.clients.append(self)
        self.task = asyncio.create_task(server.memory(scope, self._messages.get, _send))
        self.task.add_done_callback(lambda task: task.cancelled() or task.exception())

    def send(self, size: int, more: bool = True) -> None:
        """A part of the body."""
        body = b"x" * size
        self._messages.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        """Disconnect."""
        self._messages.put_nowait({"type": "http.disconnect"})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(_: Message) -> None:
    pass


async def settle() -> None:
    """Let all tasks go on until nothing changes: each of their steps takes a turn of the loop."""
    for _ in range(12):
        await asyncio.sleep(0)


@asynccontextmanager
async def in_time() -> AsyncIterator[None]:
    async with asyncio.timeout(PATIENCE):
        yield


async def end(server: Server) -> None:
    """Let all that can end do so, until all have ended. Fails when they wait for one another."""
    for client in server.clients:
        client.send(0, more=False)  # those that were whole do not read it
        client.may_end.set()
    async with in_time():
        await asyncio.gather(*(each.task for each in server.clients), return_exceptions=True)
    assert server.memory.held == 0
    assert not server.memory._budget._waiting


def patient(api: Harness, seconds: float) -> None:
    """Let bodies wait for so long; before the first request."""
    middleware: Any = api.app.user_middleware
    (entry,) = (each for each in middleware if each.cls is BodyMemory)
    entry.kwargs["patience"] = seconds
