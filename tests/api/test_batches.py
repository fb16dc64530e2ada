"""/v1/batches over a fake worker: what clients see from the upload to the files with answers."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.access.keys_files import write_keys
from tests.api.batches_harness import BATCHES, FILES, BatchesHarness, jsonl, line
from tests.api.harness import CHAT, COMPLETIONS, MODEL, Harness, assert_error

pytestmark = pytest.mark.anyio

EXPIRY = {"anchor": "created_at", "seconds": 3600}
HELLO = [{"role": "user", "content": "hi"}]


async def test_a_batch_is_answered_line_by_line(tmp_path: Path) -> None:
    api = BatchesHarness(tmp_path)
    async with api.running():
        lines = [line(f"request {n}", CHAT, model=MODEL, messages=HELLO) for n in range(20)]
        created = await api.create(*lines, metadata={"night": "1"})
        assert created["status"] == "validating"
        assert created["expires_at"] - created["created_at"] == 86_400
        batch = await api.finished(created["id"])
        answers = await api.lines(batch["output_file_id"])
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 20, "completed": 20, "failed": 0}
    assert (batch["model"], batch["metadata"]) == (MODEL, {"night": "1"})
    assert batch["usage"]["output_tokens"] == 60
    assert batch["usage"]["total_tokens"] == batch["usage"]["input_tokens"] + 60
    assert batch["error_file_id"] is batch["errors"] is batch["failed_at"] is None
    times = [batch[f"{name}_at"] for name in ("created", "in_progress", "finalizing", "completed")]
    assert times == sorted(times)
    assert [answer["custom_id"] for answer in answers] == [each["custom_id"] for each in lines]
    assert len({answer["id"] for answer in answers}) == 20
    for answer in answers:
        assert answer["error"] is None
        assert answer["response"]["status_code"] == 200
        assert answer["response"]["request_id"].startswith("req_")
        message = answer["response"]["body"]["choices"][0]["message"]
        assert message["content"] == "Hello, wörld"


async def test_lines_go_behind_what_interactive_clients_ask(tmp_path: Path) -> None:
    keys = write_keys(tmp_path / "keys.toml", {"alice": {"priority": 7}, "bob": {}})
    api = BatchesHarness(tmp_path, {"http": {"keys_file": str(tmp_path / "keys.toml")}})
    tenants = []
    async with api.running():
        for name in keys:
            api.token = keys[name]
            await api.finished((await api.create(line("a", prompt="x", priority=2)))["id"])
            await api.call("POST", COMPLETIONS, json={"prompt": "x"})
            tenants += [each.task.tenant for each in api.worker.generated[-2:]]
    assert [each.task.priority for each in api.worker.generated] == [1009, 7, 1002, 0]
    assert tenants[0] == tenants[1] != tenants[2] == tenants[3]


async def test_what_a_line_gets_wrong_is_in_the_error_file(tmp_path: Path) -> None:
    api = BatchesHarness(tmp_path)
    async with api.running():
        created = await api.create(
            line("good", prompt="a"),
            line("cold", prompt="a", temperature=-1),
            line("strange", prompt="a", model="gpt-4o"),
        )
        batch = await api.finished(created["id"])
        (good,) = await api.lines(batch["output_file_id"])
        cold, strange = await api.lines(batch["error_file_id"])
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 3, "completed": 1, "failed": 2}
    assert [good["custom_id"], cold["custom_id"]] == ["good", "cold"]
    assert (cold["error"], cold["response"]["status_code"]) == (None, 400)
    assert cold["response"]["body"]["error"]["param"] == "temperature"
    assert strange["response"]["body"]["error"]["code"] == "model_not_found"


async def test_a_bad_file_fails_with_the_numbers_of_its_lines(tmp_path: Path) -> None:
    api = BatchesHarness(tmp_path)
    good = line("a", prompt="x")
    content = jsonl(good, line("b", CHAT), good) + b"\n{\n" + jsonl(line("c", stream=True))
    async with api.running():
        file = (await api.upload(content)).json()["id"]
        body = {"input_file_id": file, "endpoint": COMPLETIONS, "completion_window": "24h"}
        batch = await api.finished((await api.ask("POST", BATCHES, json=body))["id"])
    assert batch["status"] == "failed"
    assert batch["failed_at"] is not None
    assert batch["errors"]["object"] == "list"
    found = [(each["line"], each["code"], each["param"]) for each in batch["errors"]["data"]]
    assert found == [
        (2, "mismatched_url", "url"),
        (3, "duplicate_custom_id", "custom_id"),
        (5, "invalid_json_line", None),
        (6, "unsupported_parameter", "body.stream"),
    ]
    assert batch["output_file_id"] is batch["error_file_id"] is None
    assert api.worker.generated == []


async def test_cancelling_keeps_what_is_done_and_aborts_the_rest(tmp_path: Path) -> None:
    script = lambda _: ["x"] * 5  # noqa: E731 - of the worker
    api = BatchesHarness(tmp_path, {"batches": {"concurrency": 2}}, hold_after=1, script=script)
    lines = [line(f"{n}", prompt="x", max_tokens=9 if n else 1) for n in range(9)]
    async with api.running():
        created = await api.create(*lines)
        path = f"{BATCHES}/{created['id']}"
        await api.worker.until(lambda: api.worker.pieces_sent == 3)
        while (await api.ask("GET", path))["request_counts"]["completed"] == 0:
            pass
        cancelled = await api.ask("POST", f"{path}/cancel")
        assert cancelled["status"] == "cancelling"
        assert cancelled["cancelling_at"] is not None
        batch = await api.finished(created["id"])
        answers = await api.lines(batch["output_file_id"])
        errors = await api.lines(batch["error_file_id"])
        assert_error(await api.call("POST", f"{path}/cancel"), 409, "batch_over")
    assert batch["status"] == "cancelled"
    assert batch["cancelled_at"] is not None
    assert batch["request_counts"] == {"total": 9, "completed": 1, "failed": 0}
    assert (len(api.worker.generated), len(api.worker.aborted)) == (3, 2)
    assert [each["custom_id"] for each in answers] == ["0"]
    assert [each["custom_id"] for each in errors] == [str(n) for n in range(1, 9)]
    assert {each["error"]["code"] for each in errors} == {"batch_cancelled"}
    assert {each["response"] for each in errors} == {None}


async def test_a_batch_that_is_cancelled_at_once_never_begins(tmp_path: Path) -> None:
    api = BatchesHarness(tmp_path)
    created = await api.create(line("a", prompt="x"))
    for _ in range(2):
        cancelled = await api.ask("POST", f"{BATCHES}/{created['id']}/cancel")
        assert cancelled["status"] == "cancelling"
    async with api.running():
        batch = await api.finished(created["id"])
    assert (batch["status"], batch["in_progress_at"]) == ("cancelled", None)
    assert batch["output_file_id"] is batch["error_file_id"] is None
    assert api.worker.generated == []


async def test_an_interactive_request_is_never_refused_because_of_a_batch(tmp_path: Path) -> None:
    sections = {"limits": {"max_requests": 1}, "batches": {"concurrency": 4}}
    api = BatchesHarness(tmp_path, sections, hold_after=0)
    async with api.running():
        created = await api.create(*(line(f"{n}", prompt="x") for n in range(9)))
        await api.worker.until(lambda: len(api.worker.generated) == 4)
        answer = asyncio.create_task(api.post(COMPLETIONS, prompt="y"))
        await api.worker.until(lambda: len(api.worker.generated) == 5)
        assert_error(await api.post(COMPLETIONS, prompt="y"), 429, "queue_full")
        api.worker.release()
        assert (await answer).status_code == 200
        batch = await api.finished(created["id"])
    assert batch["request_counts"]["completed"] == 9


async def test_a_line_with_the_most_choices_fits_beside_others(tmp_path: Path) -> None:
    sections = {"limits": {"max_requests": 16}, "batches": {"concurrency": 2}}
    api = BatchesHarness(tmp_path, sections, hold_after=0)
    async with api.running():
        created = await api.create(line("1", prompt="x"), line("16", prompt="x", n=16))
        await api.worker.until(lambda: len(api.worker.generated) == 17)
        api.worker.release()
        batch = await api.finished(created["id"])
    assert batch["request_counts"]["completed"] == 2


async def test_another_tenants_files_and_batches_do_not_exist(tmp_path: Path) -> None:
    api = BatchesHarness(tmp_path)
    async with api.running():
        batch = await api.finished((await api.create(line("a", prompt="x")))["id"])
        api.token = "theirs"
        for method, path in (("GET", ""), ("POST", "/cancel")):
            refused = await api.call(method, f"{BATCHES}/{batch['id']}{path}")
            assert assert_error(refused, 404, "batch_not_found")["param"] == "id"
        for ident in (batch["input_file_id"], batch["output_file_id"]):
            for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
                refused = await api.call(method, f"{FILES}/{ident}{path}")
                assert assert_error(refused, 404, "file_not_found")["param"] == "id"
        body = {"endpoint": COMPLETIONS, "completion_window": "24h"}
        body["input_file_id"] = batch["input_file_id"]
        refused = await api.call("POST", BATCHES, json=body)
        assert assert_error(refused, 404, "file_not_found")["param"] == "input_file_id"
        assert (await api.ask("GET", BATCHES))["data"] == []
        assert (await api.ask("GET", FILES))["data"] == []
        after = await api.call("GET", BATCHES, params={"after": batch["id"]})
        assert assert_error(after, 404, "batch_not_found")["param"] == "after"


async def test_batches_are_listed_in_pages(tmp_path: Path) -> None:
    api = BatchesHarness(tmp_path)
    idents = [(await api.create(line("a", prompt="x")))["id"] for _ in range(5)][::-1]
    first = await api.ask("GET", BATCHES, params={"limit": 3})
    assert [each["id"] for each in first["data"]] == idents[:3]
    assert (first["first_id"], first["last_id"], first["has_more"]) == (idents[0], idents[2], True)
    rest = await api.ask("GET", BATCHES, params={"after": idents[2]})
    assert ([each["id"] for each in rest["data"]], rest["has_more"]) == (idents[3:], False)
    api.batches.close()


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"endpoint": "/v1/models"}, "endpoint"),
        ({"endpoint": None}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"input_file_id": 1}, "input_file_id"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {"a": "b" * 513}}, "metadata.a"),
        ({"metadata": {f"{n}": "" for n in range(17)}}, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}},
         "output_expires_after.seconds"),
    ],
)  # fmt: skip
async def test_what_cannot_be_a_batch_is_refused(
    tmp_path: Path, changes: dict[str, Any], param: str
) -> None:
    api = BatchesHarness(tmp_path)
    file = (await api.upload(b"x")).json()["id"]
    body = {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"} | changes
    refused = await api.call("POST", BATCHES, json=body)
    assert assert_error(refused, 400, "invalid_value")["param"] == param
    api.batches.close()


async def test_a_file_for_something_else_is_refused(tmp_path: Path) -> None:
    api = BatchesHarness(tmp_path)
    file = (await api.upload(b"x", purpose="user_data")).json()["id"]
    body = {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"}
    error = assert_error(await api.call("POST", BATCHES, json=body), 400, "invalid_value")
    assert error["param"] == "input_file_id"
    assert "'user_data'" in error["message"]
    api.batches.close()


async def test_the_input_of_a_batch_stays_until_its_end(tmp_path: Path) -> None:
    api = BatchesHarness(tmp_path)
    created = await api.create(line("a", prompt="x"), output_expires_after=EXPIRY)
    path = f"{FILES}/{created['input_file_id']}"
    error = assert_error(await api.call("DELETE", path), 409, "file_in_use")
    assert created["id"] in error["message"]
    async with api.running():
        batch = await api.finished(created["id"])
        assert (await api.ask("DELETE", path))["deleted"] is True
        output = await api.ask("GET", f"{FILES}/{batch['output_file_id']}")
    assert output["purpose"] == "batch_output"
    assert output["filename"] == f"{created['id']}_output.jsonl"
    assert output["expires_at"] - output["created_at"] == 3600


async def test_a_server_without_batches_says_so() -> None:
    api = Harness()
    async with api.http() as http:
        for method, path in (
            ("GET", FILES), ("POST", FILES), ("GET", f"{FILES}/a"), ("DELETE", f"{FILES}/a"),
            ("GET", BATCHES), ("GET", f"{BATCHES}/a"), ("POST", f"{BATCHES}/a/cancel"),
        ):  # fmt: skip
            assert_error(await http.request(method, path), 404, "batches_disabled")


async def test_a_second_server_leaves_the_folder_to_the_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = BatchesHarness(tmp_path), BatchesHarness(tmp_path)
    assert "another server uses it; set batches.directory" in caplog.text
    assert_error(await second.call("GET", FILES), 503, "batches_unavailable")
    first.batches.close()
    third = BatchesHarness(tmp_path)
    assert (await third.ask("GET", FILES))["data"] == []
    third.batches.close()


async def test_the_log_has_a_line_at_the_begin_and_end_of_a_batch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    api = BatchesHarness(tmp_path)
    with caplog.at_level("INFO", "server.batches"):
        async with api.running():
            ident = (await api.create(line("a", prompt="x"), line("b", prompt=1)))["id"]
            # The batch is over in the database a moment before the log says so.
            while not any("answered" in record.getMessage() for record in caplog.records):
                await asyncio.sleep(0.005)
    begin, end = (each for each in caplog.records if each.name.startswith("server.batches"))
    assert begin.getMessage() == f"{ident}: 2 requests to /v1/completions"
    assert end.getMessage().startswith(f"{ident}: completed: 1 of 2 requests answered, 1 failed")
    assert vars(end)["fields"]["status"] == "completed"


async def test_a_batch_is_deleted_also_while_it_is_computed(tmp_path: Path) -> None:
    api = BatchesHarness(tmp_path, hold_after=1)
    async with api.running():
        batch = await api.create(line("a", prompt="x"), line("b", prompt="x"))
        path = f"{BATCHES}/{batch['id']}"
        await api.worker.until(lambda: api.worker.pieces_sent >= 1)
        api.token = "theirs"
        assert_error(await api.call("DELETE", path), 404, "batch_not_found")
        api.token = "mine"
        deleted = await api.ask("DELETE", path)
        assert deleted == {"id": batch["id"], "object": "batch", "deleted": True}
        await api.worker.until(lambda: len(api.worker.aborted) == len(api.worker.generated))
        for method, end in (("GET", ""), ("DELETE", ""), ("POST", "/cancel")):
            assert_error(await api.call(method, path + end), 404, "batch_not_found")
        assert (await api.ask("GET", BATCHES))["data"] == []
        after = await api.call("GET", BATCHES, params={"after": batch["id"]})
        assert_error(after, 404, "batch_not_found")
        await api.ask("DELETE", f"{FILES}/{batch['input_file_id']}")
