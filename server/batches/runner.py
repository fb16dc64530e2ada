"""Works on all open batches in the background, for as long as the server runs."""

import asyncio
import contextlib
import logging
from collections.abc import Collection

from server.batches.lines import Check, LineReader
from server.batches.turns import Turns
from server.batches.work import BatchWork, Call, Sleep
from server.stores.batches.records import Batch, BatchesUnavailableError, LineError, NoRoomError
from server.stores.batches.store import BatchStore

log = logging.getLogger(__name__)

AT_ONCE = 4
"""Batches of one tenant; others wait for their end."""
_LOOK_SECONDS = 60.0
"""So often it looks for what has expired, if there is nothing else to do."""


class BatchRunner:
    """Computes `lines` at once, in turn for each tenant with open batches.

    start(), wake() and close() are for the event loop's thread.
    """

    def __init__(
        self,
        store: BatchStore,
        call: Call,
        lines: int,
        max_lines: int,
        max_line_bytes: int,
        check_size: Check,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """`max_lines`, `max_line_bytes` and `check_size` are the bounds of an input file."""
        self._store = store
        self._call = call
        self._lines = lines
        self._bounds = max_lines, max_line_bytes, check_size
        self._sleep = sleep
        self._checks, self._turns = Turns(1), Turns(lines)
        self._works: dict[str, BatchWork] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._main: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, with what an earlier run of the server has left."""
        self._main = asyncio.create_task(self._run())

    def wake(self) -> None:
        """Look at the store: a batch was added, is to be cancelled, or was deleted."""
        self._changed.set()

    def close(self) -> None:
        """Drop what is being computed; the next start computes it again."""
        if self._main is not None:
            self._main.cancel()
        for task in self._tasks.values():
            task.cancel()

    async def stop(self) -> None:
        """The same, and wait for it."""
        self.close()
        tasks = [*self._tasks.values(), *([self._main] if self._main else [])]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            try:
                await asyncio.to_thread(self._store.sweep)
                found = await asyncio.to_thread(self._store.all_open)
                for batch in found:
                    self._attend(batch)
                self._drop_all_but({batch.id for batch in found})
            except (BatchesUnavailableError, NoRoomError) as error:
                log.error("batches: %s", error)
            # Not wait_for(): before Python 3.12 it can swallow what close() does.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._changed.wait()

    def _attend(self, batch: Batch) -> None:
        """Start its work, or tell it that the batch is to end."""
        is_over = batch.status == "cancelling" or batch.expires <= self._store.now()
        work = self._works.get(batch.id)
        if work is not None:
            if batch.status == "cancelling":
                work.interrupt()
            return
        tenant = batch.owner.tenant
        busy = sum(each.batch.owner.tenant == tenant for each in self._works.values())
        if is_over or busy < AT_ONCE:
            reader = LineReader(batch.endpoint, *self._bounds)
            work = BatchWork(
                batch,
                self._store,
                reader,
                self._call,
                self._checks,
                self._turns,
                self._lines,
                self._sleep,
            )
            self._works[batch.id] = work
            task = self._tasks[batch.id] = asyncio.create_task(self._work(work))
            task.add_done_callback(lambda _: self._forget(batch.id))

    def _drop_all_but(self, idents: Collection[str]) -> None:
        """Those batches that were deleted; to others that are over nothing happens."""
        for ident, work in self._works.items():
            if ident not in idents:
                work.interrupt()

    async def _work(self, work: BatchWork) -> None:
        try:
            await work.run()
        except Exception:
            log.exception("%s: unexpected error", work.batch.id)
            error = LineError("internal_error", "The server had an internal error")
            await asyncio.to_thread(self._store.fail, work.batch.id, [error])

    def _forget(self, ident: str) -> None:
        del self._works[ident], self._tasks[ident]
        self._changed.set()
