"""Questions to workers, which they answer between two steps."""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from server.protocol.messages import ToWorker

ANSWER_SECONDS = 5.0
"""Longer than a step."""

Send = Callable[[ToWorker], None]
Report = TypeVar("Report")


class Inquiries(Generic[Report]):
    """Matches answers to questions of one kind; one that comes too late is dropped."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Report]] = {}

    def answer(self, query_id: int, report: Report) -> None:
        """An answer has come."""
        waiting = self._waiting.get(query_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(report)

    async def ask(
        self, workers: Mapping[str, Send], question: Callable[[int], ToWorker]
    ) -> dict[str, Report | None]:
        """Ask all at once, each with a number; None of those that do not answer in time."""
        numbers = {name: next(self._numbers) for name in workers}
        for name, number in numbers.items():
            self._waiting[number] = asyncio.get_running_loop().create_future()
            workers[name](question(number))
        waits = {name: self._waiting[number] for name, number in numbers.items()}
        try:
            if waits:
                await asyncio.wait(waits.values(), timeout=ANSWER_SECONDS)
            return {name: wait.result() if wait.done() else None for name, wait in waits.items()}
        finally:
            for number in numbers.values():
                del self._waiting[number]
