"""When an answer is read ahead, where, and what ends it."""

import asyncio
from typing import Any

import pytest

from server.protocol.messages import Generate
from tests.api.harness import CHAT, MODEL, Harness

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "hi"}]


def reading_harness(**sections: Any) -> Harness:
    """A server that reads ahead; the worker holds what it reads, and answers requests at once."""

    def script(request: Generate) -> list[str]:
        return ["held"] * 9 if request.task.background else ["Hello", ", ", "wörld"]

    return Harness({"cache": {"read_ahead": True}} | sections, script=script, hold_after=9)


def in_background(api: Harness) -> list[Generate]:
    return [request for request in api.worker.generated if request.task.background]


async def until_reading(api: Harness, count: int = 1) -> None:
    await api.worker.until(lambda: len(in_background(api)) == count)


async def running(api: Harness) -> int:
    async with api.http() as http:
        found: int = (await http.get("/health")).json()["reading_ahead"]
        return found


async def until_none_runs(api: Harness) -> None:
    while await running(api):
        pass


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_is_read_with_its_conversation_in_the_same_namespace(stream: bool) -> None:
    api = reading_harness()
    await api.post(CHAT, messages=HELLO, cache_salt="s", stream=stream)
    await until_reading(api)
    (task,) = (request.task for request in in_background(api))
    expected = "user: hi\n\nassistant: Hello, wörld"
    assert bytes(token - 1 for token in task.prompt_ids).decode() == expected
    assert (task.params.max_tokens, task.use.salt, task.use.implicit) == (0, '"s"', False)
    assert task.use.boundaries == {len(task.prompt_ids): "reply"}
    assert await running(api) == 1
    async with api.http() as http:
        assert (await http.get("/health")).json()["active_requests"] == 0
    api.worker.release()
    await until_none_runs(api)


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2},
        {"no_cache": True},
        {"priority": 1000},  # as the lines of batches have it
        {"prompt_cache_options": {"mode": "explicit"}},
    ],
)
async def test_these_are_not_read(fields: dict[str, Any]) -> None:
    api = reading_harness()
    await api.post(CHAT, **{"messages": HELLO} | fields)
    assert await running(api) == 0


@pytest.mark.parametrize("cache", [{"read_ahead": False}, {"read_ahead": True, "memory_bytes": 0}])
async def test_settings_turn_it_off(cache: dict[str, Any]) -> None:
    api = reading_harness(cache=cache)
    await api.post(CHAT, messages=HELLO)
    assert await running(api) == 0


async def test_two_at_once_and_none_counts_as_a_request() -> None:
    api = reading_harness(limits={"max_requests": 1})
    for _ in range(5):
        assert (await api.post(CHAT, messages=HELLO)).status_code == 200
    await until_reading(api, 2)
    assert await running(api) == 2
    api.worker.release()
    await until_none_runs(api)
    assert not api.worker.aborted


async def test_a_request_that_needs_the_place_ends_it() -> None:
    api = reading_harness(engine={"max_batch": 2})
    await api.post(CHAT, messages=HELLO)
    await until_reading(api)
    assert (await api.post(CHAT, messages=HELLO, n=2)).status_code == 200
    assert api.worker.aborted == [in_background(api)[0].request_id]
    await until_none_runs(api)


async def test_a_busy_worker_is_left_alone() -> None:
    def script(request: Generate) -> list[str]:
        return ["a"] * request.task.params.max_tokens

    sections = {"cache": {"read_ahead": True}, "engine": {"max_batch": 4}}
    api = Harness(sections, script=script, hold_after=2)
    others = [asyncio.create_task(api.post(CHAT, messages=HELLO, max_tokens=3)) for _ in range(2)]
    await api.worker.until(lambda: api.worker.pieces_sent == 4)
    await api.post(CHAT, messages=HELLO, max_tokens=1)
    await until_none_runs(api)
    assert not in_background(api)
    api.worker.release()
    await asyncio.gather(*others)


async def test_unloading_and_failing_end_it_without_noise(caplog: pytest.LogCaptureFixture) -> None:
    api = reading_harness()
    await api.post(CHAT, messages=HELLO)
    await until_reading(api)
    await api.manager.unload(MODEL)
    assert api.worker.aborted == [in_background(api)[0].request_id]
    await until_none_runs(api)
    await api.manager.load(MODEL, {})
    worker = api.workers[MODEL].worker
    await api.post(CHAT, messages=HELLO)
    await worker.until(lambda: len(worker.generated) == 2)
    worker.client.fail_all("the server is shutting down")
    await until_none_runs(api)
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
