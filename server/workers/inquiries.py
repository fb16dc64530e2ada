"""Questions to workers, which they answer between two steps."""

import asyncio
import itertools
from collections.abc import Callable, Sequence

from server.workers.messages import CacheQuery, CacheReport, ToWorker

ANSWER_SECONDS = 5.0
"""Longer than a step."""

Send = Callable[[ToWorker], None]


class Inquiries:
    """Matches answers to questions; one that comes too late is dropped."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[CacheReport]] = {}

    def answer(self, query_id: int, report: CacheReport) -> None:
        """An answer has come."""
        waiting = self._waiting.get(query_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(report)

    async def ask(
        self, workers: Sequence[Send | None], clear: bool, clear_shared: bool
    ) -> list[CacheReport | None]:
        """Ask all at once; None where there is nobody to ask, and of those that do not answer."""
        numbers = [next(self._numbers) if send else 0 for send in workers]
        for number, send in zip(numbers, workers, strict=True):
            if send:
                self._waiting[number] = asyncio.get_running_loop().create_future()
                send(CacheQuery(number, clear, clear_shared))
        try:
            if waits := [self._waiting[number] for number in numbers if number]:
                await asyncio.wait(waits, timeout=ANSWER_SECONDS)
            return [self._result(number) for number in numbers]
        finally:
            for number in numbers:
                self._waiting.pop(number, None)

    def _result(self, number: int) -> CacheReport | None:
        waiting = self._waiting.get(number)
        return waiting.result() if waiting is not None and waiting.done() else None
