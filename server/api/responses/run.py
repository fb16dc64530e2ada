"""A response that is made in the background: by a task, and for whoever follows it meanwhile."""

import asyncio
from collections.abc import AsyncIterator

from server.api.chunks import Chunk
from server.api.responses.answer import Answer
from server.api.sse import PING, typed_event
from server.json_pieces import PIECE_BYTES, grouped

_WRITE_EVENTS = 512
_TOO_MANY = {
    "type": "error",
    "code": "server_error",
    "message": "There are too many events to keep: GET the response without stream instead",
    "param": None,
}


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
        self._events: list[list[bytes]] = []
        """Each in pieces."""
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
            self.size += sum(len(piece) for event in encoded for piece in event)
            self._events += encoded
            self._wake()

    def forget_events(self) -> None:
        """Nobody can follow it any more: there are too many events to keep."""
        self._events.clear()
        self.size = 0
        self.is_streamed = False
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
            if not self.is_streamed:
                yield b"".join(typed_event({**_TOO_MANY, "sequence_number": number}))
                return
            new = self._part(number)
            if new:
                number += len(new)
                for group in grouped(piece for event in new for piece in event):
                    yield group
            elif ended:
                return
            else:
                try:
                    await asyncio.wait_for(changed.wait(), ping_seconds)
                except TimeoutError:
                    yield PING

    def _part(self, number: int) -> list[list[bytes]]:
        """The next events, few enough for one write if they are not large."""
        part: list[list[bytes]] = []
        size = 0
        for event in self._events[number : number + _WRITE_EVENTS]:
            part.append(event)
            size += sum(map(len, event))
            if size >= PIECE_BYTES:
                break
        return part

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
