"""Lines of batches through the app: whose they are, and which answers are final."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from server.api.batch_lines import BatchLines
from server.stores.batches.records import Answer, Owner, TokenUse
from tests.access.keys_files import write_keys
from tests.api.harness import CHAT, COMPLETIONS, MODEL, Harness
from tests.fakes import PATIENCE

pytestmark = pytest.mark.anyio

BODY = b'{"prompt":"x"}'


def lines_of(api: Harness) -> BatchLines:
    return BatchLines(api.app, api.keys, api.settings)


async def answer(api: Harness, owner: Owner, path: str = COMPLETIONS, **body: Any) -> Answer:
    return await lines_of(api).answer(owner, path, msgspec.json.encode(body))


def error_of(found: Answer) -> str:
    code: str = msgspec.json.decode(found.body)["error"]["code"]
    return code


async def test_an_answer_has_the_bytes_of_an_ordinary_one(tmp_path: Path) -> None:
    api = Harness({"batches": {"limit_bytes": 1, "directory": str(tmp_path)}})
    body = {"messages": [{"role": "user", "content": "hi"}], "seed": 3}
    found = await answer(api, Owner(""), CHAT, **body)
    ordinary = (await api.post(CHAT, **body)).json()
    same = msgspec.json.decode(found.body)
    for varying in ("id", "created"):
        del same[varying], ordinary[varying]
    assert same == ordinary
    assert (found.status_code, found.is_failure, found.retry_after) == (200, False, None)
    assert found.tokens == TokenUse(ordinary["usage"]["prompt_tokens"], 0, 3)
    first, second = (each.task for each in api.worker.generated)
    assert msgspec.structs.replace(first, priority=0) == second
    api.batches.close()


async def test_a_line_is_its_owners_and_a_key_that_is_taken_back_ends_that(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    write_keys(path, {"alice": {"max_output_tokens": 5}})
    sections = {"http": {"keys_file": str(path)}, "batches": {"directory": str(tmp_path)}}
    api = Harness(sections)
    owner = Owner("abc", "alice")
    found = await answer(api, owner, prompt="x", max_tokens=5)
    assert found.status_code == 200
    assert api.worker.generated[0].task.tenant == "abc"
    assert (await answer(api, owner, prompt="x", max_tokens=6)).status_code == 400
    path.write_text("")
    api.keys.reread()
    refused = await answer(api, owner, prompt="x")
    assert (refused.status_code, error_of(refused)) == (401, "invalid_api_key")
    assert refused.retry_after is None
    api.batches.close()


async def test_a_key_that_is_taken_back_ends_lines_that_are_being_computed(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    write_keys(path, {"alice": {}, "bob": {}})
    sections = {"http": {"keys_file": str(path)}, "batches": {"directory": str(tmp_path)}}
    api = Harness(sections, hold_after=1)
    lines = lines_of(api)
    tasks = {
        name: asyncio.create_task(lines.answer(Owner(name, name), COMPLETIONS, BODY))
        for name in ("alice", "bob")
    }
    async with asyncio.timeout(PATIENCE):
        await api.worker.until(lambda: api.worker.pieces_sent == 2)
        write_keys(path, {"bob": {}})
        api.keys.reread()
        refused = await tasks["alice"]
        assert (refused.status_code, error_of(refused)) == (401, "invalid_api_key")
        assert refused.retry_after is None
        assert len(api.worker.aborted) == 1
        assert not tasks["bob"].done()
        api.worker.release()
        assert (await tasks["bob"]).status_code == 200
    api.batches.close()


async def test_each_key_has_its_limits_a_second_time_for_batches(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    key = write_keys(path, {"alice": {"requests_per_minute": 1}})["alice"]
    sections = {"http": {"keys_file": str(path)}, "batches": {"directory": str(tmp_path)}}
    api = Harness(sections)
    lines = lines_of(api)
    first, second = [await lines.answer(Owner("a", "alice"), COMPLETIONS, BODY) for _ in range(2)]
    assert (first.status_code, second.status_code) == (200, 429)
    assert second.retry_after is not None
    assert 30 < second.retry_after <= 60
    async with api.http(key) as http:
        assert (await http.post(COMPLETIONS, json={"prompt": "x"})).status_code == 200
    api.batches.close()


async def test_what_is_only_away_is_tried_again_and_what_is_wrong_is_not(tmp_path: Path) -> None:
    api = Harness({"batches": {"directory": str(tmp_path)}})
    api.client.close("starting again")
    away = await answer(api, Owner(""), prompt="x")
    assert (away.status_code, error_of(away), away.retry_after) == (503, "loading", 2)
    api.client.open()
    api.worker.error, api.worker.finish = "out of luck", "error"
    broken = await answer(api, Owner(""), prompt="x")
    assert (error_of(broken), broken.blames_engine, broken.retry_after) == ("engine_error", True, 0)
    for body in ({"prompt": "x", "model": "other"}, {"prompt": 5}, {"top_k": "x"}):
        assert (await answer(api, Owner(""), **body)).retry_after is None
    await api.manager.unload(MODEL)
    gone = await answer(api, Owner(""), prompt="x")
    assert (gone.status_code, error_of(gone)) == (503, "model_not_loaded")
    assert gone.retry_after is None
    api.batches.close()


async def test_a_line_that_is_dropped_is_aborted(tmp_path: Path) -> None:
    api = Harness({"batches": {"directory": str(tmp_path)}}, hold_after=1)
    task = asyncio.create_task(answer(api, Owner(""), prompt="x"))
    await api.worker.until(lambda: api.worker.pieces_sent == 1)
    task.cancel()
    await api.worker.until(lambda: len(api.worker.aborted) == 1)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert api.manager.deployments.active_requests == 0
    api.batches.close()


async def test_lines_have_no_deadlines(tmp_path: Path) -> None:
    limits = {"queue_seconds": 0.001, "total_seconds": 0.001}
    sections = {"limits": limits, "batches": {"directory": str(tmp_path)}}
    api = Harness(sections, hold_after=0)
    async with asyncio.timeout(PATIENCE):
        task = asyncio.create_task(answer(api, Owner(""), prompt="x"))
        await api.worker.until(lambda: len(api.worker.generated) == 1)
        assert (await api.post(COMPLETIONS, prompt="x")).status_code in (503, 504)
        api.worker.release()
        assert (await task).status_code == 200
    api.batches.close()


async def test_a_line_may_fill_in_the_middle() -> None:
    api = Harness({"model": {"fill_in_middle": "on"}})
    found = await answer(api, Owner(""), prompt="a", suffix="b")
    assert found.status_code == 200
    ids = api.worker.generated[0].task.prompt_ids
    assert bytes(each - 1 for each in ids).decode() == "✿prefix✿✿suffix✿b✿middle✿a"
    refused = await answer(Harness(), Owner(""), prompt="a", suffix="b")
    assert (refused.status_code, error_of(refused)) == (400, "unsupported_parameter")
