"""A response that is made in the background: by a task, and for whoever follows it meanwhile."""

import asyncio
from collections.abc import AsyncIterator

from server.api.chunks import Chunk
from server.api.responses.answer import Answer
from server.api.sse import PING, typed_event


class Run:
    """The events of a response so far, and the task that brings more of them.

    They are about as many as the answer has tokens, and none if it is not to be streamed.
    """

    def __init__(self, tenant: str, answer: Answer, is_streamed: bool) -> None:
        self.tenant = tenant
        self.answer = answer
        self.is_streamed = is_streamed
        self.task: asyncio.Task[None] | None = None
        self.is_settled = False
        """Whether all that is left is to keep it and to tell of it."""
        self.ended_at: float | None = None
        """By the event loop's clock."""
        self.size = 0
        """Of the events, in bytes."""
        self._events: list[bytes] = []
        self._changed = asyncio.Event()

    @property
    def can_be_stopped(self) -> bool:
        """Whether it is being made."""
        return self.task is not None and self.ended_at is None and not self.is_settled

    def stop(self) -> None:
        """End its task."""
        if self.task is not None:
            self.task.cancel()

    def tell(self, events: list[Chunk]) -> None:
        """Add events."""
        if self.is_streamed:
            encoded = list(map(typed_event, events))
            self.size += sum(map(len, encoded))
            self._events += encoded
            self._wake()

    def end(self) -> None:
        """There will be no more."""
        self.ended_at = asyncio.get_running_loop().time()
        self._wake()

    async def follow(self, starting_after: int, ping_seconds: float) -> AsyncIterator[bytes]:
        """The events of a stream after a number: those that were, and those that come."""
        number = starting_after + 1
        while True:
            changed, ended = self._changed, self.ended_at is not None
            new = self._events[number:]
            if new:
                number += len(new)
                yield b"".join(new)
            elif ended:
                return
            else:
                try:
                    await asyncio.wait_for(changed.wait(), ping_seconds)
                except TimeoutError:
                    yield PING

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
