"""What is computed, in which order, how often, and when it is given up."""

import asyncio
from pathlib import Path

import pytest

from server.batches.lines import Line, LineReader, Place
from server.batches.runner import AT_ONCE, BatchRunner
from server.batches.work import ATTEMPTS
from server.stores.batches.records import TokenUse
from server.stores.batches.store import BatchStore
from tests.batches.calls import BROKEN, BUSY, OK, WRONG, Calls, custom_ids, over, running
from tests.batches.stored import add_batch, lines_of, no_bound
from tests.fakes import PATIENCE

pytestmark = pytest.mark.anyio


async def test_each_line_is_called_once_and_its_tokens_count(store: BatchStore) -> None:
    batch, calls = add_batch(store, 9), Calls(held=True)
    async with running(store, calls):
        await calls.until(2)
        calls.release()
        done = await over(store, batch)
    assert sorted(calls.prompts) == [f"me {n}" for n in range(1, 10)]
    assert calls.most == 2
    assert (done.status, done.total, done.completed, done.failed) == ("completed", 9, 9, 0)
    assert done.tokens == TokenUse(27, 18, 9, 0)
    assert custom_ids(store, done.output_file) == [f"{n}" for n in range(1, 10)]
    first = lines_of(store, done.output_file)[0]
    assert first.pop("id").startswith("batch_req_")
    response = {"status_code": 200, "request_id": "req", "body": {"a": 1}}
    assert first == {"custom_id": "1", "response": response, "error": None}


async def test_tenants_take_turns_however_many_lines_one_has(store: BatchStore) -> None:
    calls = Calls(held=True)
    add_batch(store, 50, "A")
    async with running(store, calls, lines=1) as runner:
        await calls.until(1)
        small = add_batch(store, 3, "B")
        runner.wake()
        calls.release()
        await over(store, small)
    tenants = "".join(prompt[0] for prompt in calls.prompts)
    mixed = tenants[tenants.index("B") : tenants.rindex("B")]
    assert mixed.count("A") <= 2 * mixed.count("B")


async def test_only_lines_that_have_their_turn_are_in_memory(
    store: BatchStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    read = LineReader.read

    def counting_read(reader: LineReader, path: Path, place: Place) -> Line:
        reads.append(place.number)
        return read(reader, path, place)

    monkeypatch.setattr(LineReader, "read", counting_read)
    batches, calls = [add_batch(store, 5, tenant) for tenant in "ABC"], Calls(held=True)
    first_tries = {f"{tenant} {number}" for tenant in "ABC" for number in (1, 3)}
    calls.script = lambda prompt: (
        BUSY if calls.prompts.count(prompt) == 1 and (prompt in first_tries) else None
    )
    async with running(store, calls, lines=2):
        await calls.until(2)
        for _ in range(50):
            await asyncio.to_thread(lambda: None)
        assert len(reads) == 2
        calls.release()
        for batch in batches:
            assert (await over(store, batch)).completed == 5
    assert len(reads) == len(calls.prompts) == 15 + len(first_tries)


async def test_so_many_lines_are_computed_at_once_of_all_batches(store: BatchStore) -> None:
    batches = [add_batch(store, 3, tenant) for tenant in "AB"]
    calls = Calls(held=True)
    async with running(store, calls, lines=2):
        while any(store.refreshed(batch).status == "validating" for batch in batches):
            await asyncio.sleep(0.002)
        await calls.until(2)
        for _ in range(50):
            await asyncio.to_thread(lambda: None)
        assert len(calls.prompts) == 2
        calls.release()
        for batch in batches:
            await over(store, batch)
    assert calls.most == 2


async def test_a_tenants_batches_go_on_together_but_only_so_many(store: BatchStore) -> None:
    batches = [add_batch(store, 3) for _ in range(AT_ONCE + 2)]
    calls = Calls(held=True)
    async with running(store, calls, lines=50):
        await calls.until(3 * AT_ONCE)
        begun = [store.refreshed(batch).status == "in_progress" for batch in batches]
        assert begun == [True] * AT_ONCE + [False] * 2
        calls.release()
        for batch in batches:
            assert (await over(store, batch)).completed == 3


async def test_a_line_that_has_to_wait_is_tried_again_and_again(store: BatchStore) -> None:
    batch, calls = add_batch(store, 1), Calls()
    calls.script = lambda _: BUSY if len(calls.prompts) < 9 else OK
    async with running(store, calls):
        done = await over(store, batch)
    assert (done.completed, done.failed) == (1, 0)
    assert calls.slept == [7, 7, 7, 7, 8, 16, 32, 60]


async def test_a_line_at_which_the_engine_fails_is_given_up(store: BatchStore) -> None:
    batch, calls = add_batch(store, 3), Calls()
    answers = {"me 1": BROKEN, "me 2": WRONG}
    calls.script = answers.get
    async with running(store, calls):
        done = await over(store, batch)
    assert calls.prompts.count("me 1") == ATTEMPTS
    assert calls.prompts.count("me 2") == calls.prompts.count("me 3") == 1
    assert (done.status, done.completed, done.failed) == ("completed", 1, 2)
    statuses = [each["response"]["status_code"] for each in lines_of(store, done.error_file)]
    assert statuses == [500, 400]


async def test_one_that_waits_leaves_its_turn_to_others(store: BatchStore) -> None:
    blocked, other = add_batch(store, 2, "A"), add_batch(store, 2, "B")
    calls = Calls()
    calls.script = lambda prompt: BUSY if prompt.startswith("A") else OK
    async with running(store, calls, lines=1):
        assert (await over(store, other)).completed == 2
        assert store.refreshed(blocked).status == "in_progress"


@pytest.mark.parametrize("ticks", range(5))
async def test_it_stops_also_when_there_is_news_just_then(store: BatchStore, ticks: int) -> None:
    async with asyncio.timeout(PATIENCE):
        runner = BatchRunner(store, Calls(), 1, 1000, 10_000, no_bound)
        runner.start()
        batch = add_batch(store, 1)
        runner.wake()
        await over(store, batch)
        runner.wake()
        for _ in range(ticks):
            await asyncio.sleep(0)
        await runner.stop()
