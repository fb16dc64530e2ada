"""Turns are given to tenants one after another, and none is lost."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from server.batches.turns import Turns


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Takers:
    """Tasks that take turns, which are over when the test says so."""

    def __init__(self, at_once: int) -> None:
        self.turns = Turns(at_once)
        self.order: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.running: list[asyncio.Event] = []

    def take(self, tenant: str) -> None:
        self.tasks.append(asyncio.create_task(self._take(tenant)))

    async def end_oldest(self) -> None:
        self.running.pop(0).set()
        await settle()

    async def _take(self, tenant: str) -> None:
        async with self.turns.turn(tenant):
            self.order.append(tenant)
            over = asyncio.Event()
            self.running.append(over)
            try:
                await over.wait()
            finally:
                if over in self.running:
                    self.running.remove(over)


def test_tenants_alternate_however_many_one_has_waiting() -> None:
    async def scenario() -> list[str]:
        takers = Takers(1)
        for tenant in "AAAABBC":
            takers.take(tenant)
        await settle()
        while takers.running:
            await takers.end_oldest()
        return takers.order

    assert "".join(asyncio.run(scenario())) == "AABCABA"


@settings(max_examples=300, deadline=None)
@given(
    at_once=st.integers(1, 3),
    steps=st.lists(st.sampled_from(["A", "B", "end", "tick"]) | st.integers(0, 5), max_size=30),
)
def test_no_turn_is_lost_whoever_leaves(at_once: int, steps: list[str | int]) -> None:
    async def scenario() -> None:
        takers = Takers(at_once)
        for step in steps:
            if isinstance(step, int):
                if step < len(takers.tasks):
                    takers.tasks[step].cancel()
            elif step == "tick":
                await asyncio.sleep(0)
            elif step == "end":
                if takers.running:
                    takers.running.pop(0).set()
            else:
                takers.take(step)
            assert len(takers.running) <= at_once
        for task in takers.tasks:
            task.cancel()
        await asyncio.gather(*takers.tasks, return_exceptions=True)
        takers.running.clear()
        for _ in range(at_once + 1):
            takers.take("A")
        await settle()
        assert len(takers.running) == at_once
        for task in takers.tasks:
            task.cancel()
        await asyncio.gather(*takers.tasks, return_exceptions=True)

    asyncio.run(scenario())
