"""How batches end, whatever comes between: restarts, their window, full and failing disks, bugs."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from server.batches.lines import LineReader
from server.batches.turns import Turns
from server.batches.work import BatchWork
from server.stores.batches.records import (
    BatchesUnavailableError,
    NoRoomError,
    TokenUse,
    UnknownBatchError,
)
from server.stores.batches.store import BatchStore
from tests.batches.calls import OK, Calls, custom_ids, over, running
from tests.batches.stored import ENDPOINT, FakeTime, add_batch, lines_of, no_bound, open_store

pytestmark = pytest.mark.anyio


async def test_a_batch_that_is_over_by_now_is_not_begun_again(store: BatchStore) -> None:
    batch, calls = add_batch(store, 1), Calls()
    async with running(store, calls):
        done = await over(store, batch)
    reader, turns = LineReader(ENDPOINT, 9, 9999, no_bound), Turns(1)
    before = msgspec.structs.replace(batch, status="in_progress", total=1)
    await BatchWork(before, store, reader, calls, turns, turns, 1).run()
    assert len(calls.prompts) == 1
    assert store.refreshed(batch) == done


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
    store.room.grow_upload("me", 1000)
    real_sleep = calls.sleep

    async def sleep(seconds: float) -> None:
        if len(calls.slept) == 3:
            store.room.end_upload("me", 1000)
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


@pytest.mark.parametrize("when", ["validating", "computing", "waiting for room", "over"])
async def test_a_batch_that_is_deleted_ends_and_others_go_on(
    store: BatchStore, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    calls = Calls(held=when in ("computing", "validating"))
    batch = add_batch(store, 5)
    full = when == "waiting for room"
    monkeypatch.setattr(store.room, "check_answer", fail_with_no_room if full else lambda *_: None)
    async with running(store, calls) as runner:
        if when == "computing":
            await calls.until(2)
        elif when == "over":
            await over(store, batch)
        elif when == "waiting for room":
            while not calls.slept:
                await asyncio.sleep(0.002)
        store.remove("me", batch.id)
        runner.wake()
        with pytest.raises(UnknownBatchError):
            store.get("me", batch.id)
        while runner._works:
            await asyncio.sleep(0.002)
        assert calls.running == 0
        monkeypatch.undo()
        other = add_batch(store, 2, "they")
        runner.wake()
        calls.release()
        assert (await over(store, other)).status == "completed"
    assert store.list("me", 9) == ([], False)
    with store._database.reading() as db:
        assert db.execute("SELECT count(*) FROM results").fetchone() == (0,)
    # Its files are files like others.
    left = {file.purpose for file in store.files.list("me", 9)[0]}
    assert left == ({"batch", "batch_output"} if when == "over" else {"batch"})
    for file in store.files.list("me", 9)[0]:
        store.files.remove("me", file.id)


def fail_with_no_room(*_: Any) -> None:
    raise NoRoomError("none")


async def test_only_its_owner_deletes_a_batch(store: BatchStore) -> None:
    batch = add_batch(store, 1)
    for tenant, ident in (("they", batch.id), ("me", "batch_none")):
        with pytest.raises(UnknownBatchError):
            store.remove(tenant, ident)
    store.remove("me", batch.id)
    with pytest.raises(UnknownBatchError):
        store.remove("me", batch.id)


async def test_a_page_of_batches_ends_where_its_bytes_do(
    store: BatchStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.stores.batches.store.PAGE_BYTES", 900)
    idents = [add_batch(store, 1).id for _ in range(7)]
    found: list[str] = []
    pages, has_more = 0, True
    while has_more:
        page, has_more = store.list("me", 100, found[-1] if found else "")
        found += [batch.id for batch in page]
        pages += 1
    assert found == idents[::-1]
    assert 3 <= pages <= 7
