"""Calls of lines that a test answers, and a runner over them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from server.batches.runner import BatchRunner
from server.stores.batches.records import Answer, Batch, Owner, TokenUse
from server.stores.batches.store import BatchStore
from tests.batches.stored import lines_of, no_bound
from tests.fakes import PATIENCE

OK = Answer(status_code=200, request_id="req", body=b'{"a":1}', tokens=TokenUse(3, 2, 1, 0))
BUSY = Answer(status_code=429, request_id="req", body=b"{}", retry_after=7.0)
BROKEN = Answer(status_code=500, request_id="req", body=b"{}", retry_after=0.0)
WRONG = Answer(status_code=400, request_id="req", body=b"{}")


class Calls:
    """Answers OK, or with what `script` has for a prompt; held until release() if asked to."""

    def __init__(self, held: bool = False) -> None:
        self.prompts: list[str] = []
        self.script: Callable[[str], Answer | None] = lambda _: None
        self.slept: list[float] = []
        self.most = 0
        self.running = 0
        self._released = asyncio.Event()
        self._changed = asyncio.Event()
        if not held:
            self.release()

    def release(self) -> None:
        self._released.set()

    async def __call__(self, owner: Owner, _: str, body: bytes) -> Answer:
        prompt = msgspec.json.decode(body)["prompt"]
        assert prompt.startswith(owner.tenant)
        self.prompts.append(prompt)
        self.running += 1
        self.most = max(self.most, self.running)
        self._changed.set()
        try:
            await self._released.wait()
            await asyncio.sleep(0)
        finally:
            self.running -= 1
        return self.script(prompt) or OK

    async def until(self, count: int) -> None:
        """Wait until so many calls have begun."""
        while len(self.prompts) < count:
            self._changed.clear()
            await self._changed.wait()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


@asynccontextmanager
async def running(store: BatchStore, calls: Calls, lines: int = 2) -> AsyncIterator[BatchRunner]:
    runner = BatchRunner(store, calls, lines, 1000, 10_000, no_bound, calls.sleep)
    runner.start()
    try:
        async with asyncio.timeout(PATIENCE):
            yield runner
    finally:
        await runner.stop()


async def over(store: BatchStore, batch: Batch) -> Batch:
    """The batch when it has ended."""
    while (now := store.refreshed(batch)).status in ("validating", "in_progress", "finalizing"):
        await asyncio.sleep(0.002)
    return now


def custom_ids(store: BatchStore, ident: str) -> list[str]:
    return [each["custom_id"] for each in lines_of(store, ident)]
