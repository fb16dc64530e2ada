"""One batch from its validation to its end: what a restart finds half done goes on from there."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from itertools import count
from typing import ParamSpec, TypeVar

from server.batches.lines import InvalidLineError, LineReader, Place
from server.batches.results import answered, write_files
from server.batches.turns import Turns
from server.stores.batches.records import (
    OPEN,
    Answer,
    Batch,
    BatchesUnavailableError,
    Ending,
    LineError,
    NoRoomError,
    Owner,
    UnknownBatchError,
)
from server.stores.batches.store import BatchStore

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

Call = Callable[[Owner, str, bytes], Awaitable[Answer]]
"""Answers a request of an owner to an endpoint, given its body."""
Sleep = Callable[[float], Awaitable[None]]

ATTEMPTS = 3
"""At a line at which the engine fails; one that only has to wait is tried until the batch ends."""
_FIRST_WAIT_SECONDS, _MOST_WAIT_SECONDS = 0.25, 60.0


class BatchWork:
    """Works on one batch. All that it reaches is in the store."""

    def __init__(
        self,
        batch: Batch,
        store: BatchStore,
        reader: LineReader,
        call: Call,
        checks: Turns,
        turns: Turns,
        lines: int,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """It takes `checks` to validate and `turns` to compute; holds at most so many `lines`."""
        self.batch = batch
        """As it was when it was last looked at."""
        self._store = store
        self._reader = reader
        self._call = call
        self._checks = checks
        self._turns = turns
        self._places = asyncio.Semaphore(lines)
        self._sleep = sleep
        self._interrupted = threading.Event()
        self._computing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Go on with the batch until it is over. When this is cancelled it stays as it is."""
        try:
            await self._advance()
        except UnknownBatchError:
            log.info("%s: deleted", self.batch.id)
        except (OSError, InvalidLineError) as error:
            await self._fail([LineError("unreadable_file", f"The file cannot be read: {error}")])
        finally:
            self._interrupted.set()  # a thread may be validating still

    def interrupt(self) -> None:
        """Drop what is being computed: the store has another status of the batch by now."""
        self._interrupted.set()
        if self._computing is not None:
            self._computing.cancel()

    async def _advance(self) -> None:
        self.batch = await self._keep(self._store.refreshed, self.batch)
        if self.batch.status == "validating":
            await self._validate()
        if self.batch.status == "in_progress":
            await self._compute()
        if self.batch.status in OPEN:
            self.batch = await self._keep(write_files, self._store, self._reader, self.batch)
            _log_end(self.batch)

    async def _validate(self) -> None:
        batch, path = self.batch, self._store.path(self.batch)
        async with self._checks.turn(batch.owner.tenant):
            found = await asyncio.to_thread(self._reader.check, path, self._interrupted.is_set)
        if self._interrupted.is_set():
            self.batch = await self._keep(self._store.refreshed, batch)
        elif found.errors:
            await self._fail(found.errors)
        else:
            begin = self._store.begin
            self.batch = await self._keep(begin, batch.id, found.total, found.model)

    async def _compute(self) -> None:
        batch = self.batch
        _log_start(batch)
        ending: Ending = "completed"
        self._computing = asyncio.create_task(self._compute_lines())
        if self._interrupted.is_set():
            self._computing.cancel()
        try:
            async with asyncio.timeout(batch.expires - self._store.now()):
                await self._computing
        except TimeoutError:
            ending = "expired"
        except asyncio.CancelledError:
            if not self._interrupted.is_set():
                raise
        if self._interrupted.is_set():
            self.batch = await self._keep(self._store.refreshed, batch)
        else:
            self.batch = await self._keep(self._store.end_lines, batch.id, ending)

    async def _compute_lines(self) -> None:
        """Return when each line has an answer in the store."""
        done = await self._keep(self._store.done_lines, self.batch.id)
        missing = self._reader.missing(self._store.path(self.batch), done)
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._places.acquire()
                    place = await asyncio.to_thread(next, missing, None)
                    if place is None:
                        return
                    task = group.create_task(self._compute_line(place))
                    task.add_done_callback(lambda _: self._places.release())
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _compute_line(self, place: Place) -> None:
        for attempt in count(1):
            custom_id, answer = await self._ask(place)
            if answer.retry_after is None or (answer.blames_engine and attempt == ATTEMPTS):
                break
            await self._sleep(max(answer.retry_after, _wait_seconds(attempt)))
        await self._keep(self._add_result, custom_id, place.number, answer)

    def _add_result(self, custom_id: str, number: int, answer: Answer) -> None:
        text = answered(custom_id, answer)
        self._store.add_result(self.batch.id, number, text, answer.is_failure, answer.tokens)

    async def _ask(self, place: Place) -> tuple[str, Answer]:
        """The id and the answer of a line, whose body is in memory only when it has its turn."""
        batch = self.batch
        async with self._turns.turn(batch.owner.tenant):
            line = await asyncio.to_thread(self._reader.read, self._store.path(batch), place)
            return line.custom_id, await self._call(batch.owner, batch.endpoint, line.body)

    async def _fail(self, errors: list[LineError]) -> None:
        self.batch = await self._keep(self._store.fail, self.batch.id, errors)
        first = errors[0]
        where = f"line {first.line}: " if first.line else ""
        log.info("%s: failed: %s%s", self.batch.id, where, first.message)

    async def _keep(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the method gives, as soon as there is room for what it writes."""
        for attempt in count(1):
            try:
                return await asyncio.to_thread(method, *args, **kwargs)
            except (NoRoomError, BatchesUnavailableError) as error:
                if attempt == 1:
                    log.error("%s has to wait: %s", self.batch.id, error)
            await self._sleep(_wait_seconds(attempt))
        raise AssertionError("unreachable")


def _wait_seconds(attempt: int) -> float:
    return float(min(_FIRST_WAIT_SECONDS * 2 ** min(attempt, 16), _MOST_WAIT_SECONDS))


def _log_start(batch: Batch) -> None:
    done = batch.completed + batch.failed
    fields = {"batch": batch.id, "endpoint": batch.endpoint, "lines": batch.total, "done": done}
    log.info(
        "%s: %d requests to %s%s",
        batch.id,
        batch.total,
        batch.endpoint,
        f", {done} of them done before" if done else "",
        extra={"fields": fields},
    )


def _log_end(batch: Batch) -> None:
    seconds = batch.times[batch.status] - batch.times.get("in_progress", batch.created)
    fields = {"batch": batch.id, "status": batch.status, "lines": batch.total}
    fields |= {"completed": batch.completed, "failed": batch.failed, "seconds": round(seconds, 1)}
    log.info(
        "%s: %s: %d of %d requests answered, %d failed, in %.1f s",
        batch.id,
        batch.status,
        batch.completed,
        batch.total,
        batch.failed,
        seconds,
        extra={"fields": fields},
    )
