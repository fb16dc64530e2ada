"""Lines of batches have the bounds of the bodies that are in them, and are read off the loop."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from server.api import batch_lines
from server.api.bodies.count import MAX_DIGITS, MAX_LEVELS
from server.api.bodies.lines import line_check
from server.api.bodies.threads import SMALL_BODY
from server.batches.lines import InvalidLineError
from server.config import Settings
from server.stores.batches.records import Owner, TokenUse
from tests.api.batches_harness import BatchesHarness, jsonl, line
from tests.api.bodies.memory_server import patient
from tests.api.harness import COMPLETIONS, Harness

pytestmark = pytest.mark.anyio

MOST = 2000
SETTINGS = Settings.model_validate({"http": {"max_body_values": MOST}})


def of_values(count: int) -> dict[str, Any]:
    """A right body of so many values."""
    # The object, two keys, a string, and the key and the list of the rest.
    return {"prompt": "x", "max_tokens": 1, "unknown": [[] for _ in range(count - 6)]}


def code_of(text: bytes) -> str:
    try:
        line_check(SETTINGS)(text)
    except InvalidLineError as error:
        return error.code
    return ""


def test_a_line_may_have_what_its_body_may() -> None:
    assert code_of(jsonl(line("a", **of_values(MOST)))) == ""
    assert code_of(jsonl(line("a", **of_values(MOST + 100)))) == "line_too_large"
    assert code_of(jsonl(line("a", unknown=[1] * 1_000_000))) == ""
    assert code_of(jsonl(line("a", unknown=[1] * 1_200_000))) == "line_too_large"
    assert code_of(b"[" * MAX_LEVELS) == ""
    assert code_of(b"[" * (MAX_LEVELS + 1)) == "invalid_json_line"
    assert code_of(b"1" * (MAX_DIGITS + 1)) == "invalid_json_line"


async def test_a_line_of_too_many_values_fails_its_batch_before_it_is_read(tmp_path: Path) -> None:
    api = BatchesHarness(tmp_path, {"http": {"max_body_values": MOST}})
    good, bad = line("a", prompt="x"), line("b", **of_values(MOST + 100))
    async with api.running():
        batch = await api.finished((await api.create(good, bad))["id"])
        (error,) = batch["errors"]["data"]
        assert (batch["status"], error["line"], error["code"]) == ("failed", 2, "line_too_large")
        assert error["message"].startswith("The line has more than ")
        assert "http.max_body_values" in error["message"]
        # The endpoint has its say, too: a line may have a few values of its own.
        batch = await api.finished((await api.create(line("c", **of_values(MOST + 5))))["id"])
        (answer,) = await api.lines(batch["error_file_id"])
        assert answer["response"]["status_code"] == 413
        batch = await api.finished((await api.create(line("d", **of_values(MOST))))["id"])
        (answer,) = await api.lines(batch["output_file_id"])
        assert answer["response"]["status_code"] == 200


async def test_bodies_of_lines_wait_for_room_like_others(tmp_path: Path) -> None:
    api = BatchesHarness(tmp_path, {"http": {"max_body_bytes": 1 << 20}}, hold_after=0)
    lines = batch_lines.BatchLines(api.app, api.keys, api.settings)
    body = json.dumps({"prompt": "x" * (900 << 10), "max_tokens": 1}).encode()
    async with api.running():
        patient(api, 0.05)
        tasks = [asyncio.create_task(lines.answer(Owner("a"), COMPLETIONS, body)) for _ in range(9)]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        refused = done.pop().result()
        assert (refused.status_code, refused.retry_after) == (429, 5.0)
        api.worker.release()
        assert {(await task).status_code for task in tasks} == {200, 429}


@pytest.mark.parametrize("size", [10, 2 * SMALL_BODY])
async def test_large_answers_are_read_elsewhere(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[bool] = []

    def use_of(_: object) -> TokenUse:
        threads.append(threading.current_thread() is threading.main_thread())
        return TokenUse()

    monkeypatch.setattr(batch_lines, "_use_of", use_of)
    api = Harness({"batches": {"directory": str(tmp_path)}}, script=lambda _: ["x" * size])
    lines = batch_lines.BatchLines(api.app, api.keys, api.settings)
    found = await lines.answer(Owner("a"), COMPLETIONS, b'{"prompt":"x"}')
    assert found.status_code == 200
    assert threads == [size < SMALL_BODY]
    api.batches.close()
