"""Batches from validation to their end, over calls that a test answers, and a real store."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from server.batches.records import Answer, Batch, BatchesUnavailableError, Owner, TokenUse
from server.batches.runner import AT_ONCE, BatchRunner
from server.batches.store import BatchStore
from server.batches.work import ATTEMPTS
from tests.batches.stored import FakeTime, add_batch, lines_of, open_store
from tests.fakes import PATIENCE

pytestmark = pytest.mark.anyio

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
    runner = BatchRunner(store, calls, lines, 1000, 10_000, calls.sleep)
    runner.start()
    try:
        async with asyncio.timeout(PATIENCE):
            yield runner
    finally:
        await runner.stop()


async def over(store: BatchStore, batch: Batch) -> Batch:
    while (now := store.refreshed(batch)).status in ("validating", "in_progress", "finalizing"):
        await asyncio.sleep(0.002)
    return now


def custom_ids(store: BatchStore, ident: str) -> list[str]:
    return [each["custom_id"] for each in lines_of(store, ident)]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[BatchStore]:
    opened = open_store(tmp_path)
    yield opened
    opened.close()


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


async def test_after_its_window_a_batch_ends_with_what_it_has(tmp_path: Path) -> None:
    now, calls = FakeTime(), Calls(held=True)
    store = open_store(tmp_path, now)
    batch = add_batch(store, 5)
    store.begin(batch.id, 5, "")
    for number in (1, 2):
        store.add_result(batch.id, number, b'{"custom_id":"%d"}\n' % number, False, TokenUse())
    now.seconds = batch.expires - 0.05
    async with running(store, calls):
        done = await over(store, batch)
        assert calls.running == 0
    assert (done.status, done.completed, done.failed) == ("expired", 2, 0)
    assert custom_ids(store, done.output_file) == ["1", "2"]
    errors = lines_of(store, done.error_file)
    assert [each["custom_id"] for each in errors] == ["3", "4", "5"]
    assert {each["error"]["code"] for each in errors} == {"batch_expired"}
    store.close()


async def test_a_batch_whose_window_is_over_at_the_start_expires(tmp_path: Path) -> None:
    now, calls = FakeTime(), Calls()
    store = open_store(tmp_path, now)
    batch = add_batch(store, 2)
    now.seconds += 86_400
    async with running(store, calls):
        done = await over(store, batch)
    assert (done.status, done.completed, calls.prompts) == ("expired", 0, [])
    assert custom_ids(store, done.error_file) == ["1", "2"]
    store.close()


async def test_another_run_goes_on_with_the_lines_that_are_missing(tmp_path: Path) -> None:
    store, calls = open_store(tmp_path), Calls()
    batch = add_batch(store, 40)
    async with running(store, calls):
        while store.refreshed(batch).completed < 10:
            await asyncio.sleep(0)
    done = store.done_lines(batch.id)
    assert 10 <= len(done) < 40
    store.close()
    store, again = open_store(tmp_path), Calls()
    async with running(store, again):
        ended = await over(store, batch)
    missing = {f"me {n}" for n in range(1, 41) if n not in done}
    assert set(again.prompts) == missing
    assert len(again.prompts) == len(missing)
    assert ended.completed == 40
    assert custom_ids(store, ended.output_file) == [f"{n}" for n in range(1, 41)]
    store.close()


@pytest.mark.parametrize("status", ["finalizing", "cancelling"])
async def test_what_was_ending_when_the_server_was_killed_ends(
    store: BatchStore, status: str
) -> None:
    batch = add_batch(store, 3)
    store.begin(batch.id, 3, "")
    assert store.add_result(batch.id, 2, b'{"custom_id":"2"}\n', False, TokenUse(1))
    if status == "finalizing":
        store.end_lines(batch.id, "expired")
    else:
        store.cancel("me", batch.id)
    assert not store.add_result(batch.id, 3, b"{}\n", False, TokenUse())
    calls = Calls()
    async with running(store, calls):
        while (done := store.refreshed(batch)).status == status:
            await asyncio.sleep(0.002)
    assert done.status == ("expired" if status == "finalizing" else "cancelled")
    assert (done.completed, done.tokens.input, calls.prompts) == (1, 1, [])
    assert custom_ids(store, done.output_file) == ["2"]
    assert custom_ids(store, done.error_file) == ["1", "3"]
    with store._database.reading() as db:
        assert db.execute("SELECT count(*) FROM results").fetchone() == (0,)
        held = db.execute("SELECT bytes FROM held").fetchone()
        assert held == db.execute("SELECT total(bytes) FROM files").fetchone()


async def test_a_line_has_one_result(store: BatchStore) -> None:
    batch = add_batch(store, 2)
    store.begin(batch.id, 2, "")
    assert store.add_result(batch.id, 1, b"a", False, TokenUse(1))
    assert not store.add_result(batch.id, 1, b"b", True, TokenUse(1))
    now = store.refreshed(batch)
    assert (now.completed, now.failed, now.tokens.input) == (1, 0, 1)
    assert list(store.results(batch.id, False)) == [b"a"]


async def test_answers_wait_for_room(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store, calls = open_store(tmp_path, limit_bytes=1400), Calls()
    batch = add_batch(store, 3)
    ballast = store.files.add("me", "ballast", "user_data", (tmp_path / "batches.lock").open("rb"))
    store.files.reserve(1000)
    real_sleep = calls.sleep

    async def sleep(seconds: float) -> None:
        if len(calls.slept) == 3:
            store.files.release(1000)
        await real_sleep(seconds)

    calls.sleep = sleep  # type: ignore[method-assign]
    async with running(store, calls):
        done = await over(store, batch)
    assert (done.completed, len(calls.prompts)) == (3, 3)
    assert f"{batch.id} has to wait: " in caplog.text
    assert ballast.bytes == 0
    store.close()


async def test_an_input_that_is_gone_fails_the_batch(store: BatchStore) -> None:
    batch = add_batch(store, 2)
    store.path(batch).unlink()
    async with running(store, Calls()):
        done = await over(store, batch)
    assert (done.status, done.errors[0].code) == ("failed", "unreadable_file")


async def test_a_bug_fails_the_batch_and_spares_others(
    store: BatchStore, caplog: pytest.LogCaptureFixture
) -> None:
    calls = Calls()

    def script(prompt: str) -> Any:
        return "no answer" if prompt.startswith("A") else OK

    calls.script = script
    broken, other = add_batch(store, 2, "A"), add_batch(store, 2, "B")
    async with running(store, calls):
        assert (await over(store, broken)).errors[0].code == "internal_error"
        assert (await over(store, other)).completed == 2
    assert f"{broken.id}: unexpected error" in caplog.text


async def test_a_disk_that_fails_for_a_moment_loses_nothing(
    store: BatchStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, calls, failures = add_batch(store, 3), Calls(), []
    add_result = store.add_result

    def fail_once(*args: Any) -> bool:
        if not failures:
            failures.append(args)
            raise BatchesUnavailableError("disk I/O error")
        return add_result(*args)

    monkeypatch.setattr(store, "add_result", fail_once)
    async with running(store, calls):
        done = await over(store, batch)
    assert (done.completed, len(calls.prompts), len(failures)) == (3, 3, 1)


async def test_batches_are_forgotten_some_time_after_their_end(tmp_path: Path) -> None:
    now = FakeTime()
    store = open_store(tmp_path, now, ttl_seconds=100, max_files=2)
    first, second = add_batch(store, 1), add_batch(store, 1)
    store.fail(first.id, [])
    now.seconds += 100
    store.sweep()
    assert store.list("me", 9) == ([second], False)
    store.close()


@pytest.mark.parametrize("ticks", range(5))
async def test_it_stops_also_when_there_is_news_just_then(store: BatchStore, ticks: int) -> None:
    async with asyncio.timeout(PATIENCE):
        runner = BatchRunner(store, Calls(), 1, 1000, 10_000)
        runner.start()
        batch = add_batch(store, 1)
        runner.wake()
        await over(store, batch)
        runner.wake()
        for _ in range(ticks):
            await asyncio.sleep(0)
        await runner.stop()
