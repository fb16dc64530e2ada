"""/v1/files: what is uploaded comes back, within bounds, and only to its owner."""

import asyncio
import errno
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.access.keys_files import write_keys
from tests.api.batches_harness import FILES, BatchesHarness
from tests.api.harness import assert_error, serving

pytestmark = pytest.mark.anyio

EXPIRY = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}


async def test_a_file_comes_back_as_it_was_uploaded(tmp_path: Path) -> None:
    api = BatchesHarness(tmp_path)
    content = bytes(range(256)) * 20_000
    response = await api.upload(content, "ä/..\\b.jsonl", purpose="user_data", **EXPIRY)
    assert response.status_code == 200, response.text
    file = response.json()
    assert file == {
        "id": file["id"],
        "object": "file",
        "bytes": len(content),
        "created_at": file["created_at"],
        "expires_at": file["created_at"] + 3600,
        "filename": "ä/..\\b.jsonl",
        "purpose": "user_data",
        "status": "processed",
        "status_details": None,
    }
    path = f"{FILES}/{file['id']}"
    assert await api.ask("GET", path) == file
    got = await api.call("GET", f"{path}/content")
    assert got.content == content
    assert int(got.headers["content-length"]) == len(content)
    deleted = await api.ask("DELETE", path)
    assert deleted == {"id": file["id"], "object": "file", "deleted": True}
    for method, end in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        assert_error(await api.call(method, path + end), 404, "file_not_found")
    api.batches.close()


async def test_files_of_batches_expire_as_the_settings_say(tmp_path: Path) -> None:
    api = BatchesHarness(tmp_path, {"batches": {"ttl_seconds": 5000}})
    file = (await api.upload(b"")).json()
    assert file["expires_at"] - file["created_at"] == 5000
    api.batches.close()


async def test_lists_have_pages_an_order_and_purposes(tmp_path: Path) -> None:
    api = BatchesHarness(tmp_path)
    idents = []
    for number in range(4):
        purpose = "batch" if number % 2 else "vision"
        idents.append((await api.upload(b"x", purpose=purpose)).json()["id"])

    async def listed(**query: Any) -> tuple[list[str], bool]:
        found = await api.ask("GET", FILES, params=query)
        return [file["id"] for file in found["data"]], found["has_more"]

    assert await listed() == (idents[::-1], False)
    assert await listed(order="asc", limit=3) == (idents[:3], True)
    assert await listed(order="asc", after=idents[1]) == (idents[2:], False)
    assert await listed(purpose="vision") == ([idents[2], idents[0]], False)
    assert_error(await api.call("GET", FILES, params={"limit": 0}), 400, "invalid_value")
    api.batches.close()


@pytest.mark.parametrize(
    ("data", "files", "code", "param"),
    [
        ({"purpose": "batch"}, None, "missing_required_parameter", "file"),
        ({"purpose": "batch", "file": "text"}, None, "missing_required_parameter", "file"),
        ({}, {"file": ("a", b"x")}, "missing_required_parameter", "purpose"),
        ({"purpose": "fun"}, {"file": ("a", b"x")}, "invalid_value", "purpose"),
        ({"purpose": "batch"}, {"file": ("a" * 256, b"x")}, "invalid_value", "file"),
        ({"purpose": "batch"}, [("file", ("a", b"x"))] * 2, "invalid_value", None),
        ({"purpose": "batch", "expires_after[seconds]": "3600"}, {"file": ("a", b"x")},
         "missing_required_parameter", "expires_after.anchor"),
        ({"purpose": "batch"} | EXPIRY | {"expires_after[seconds]": "10"}, {"file": ("a", b"x")},
         "invalid_value", "expires_after.seconds"),
    ],
)  # fmt: skip
async def test_what_is_no_upload_is_refused(
    tmp_path: Path, data: Any, files: Any, code: str, param: str | None
) -> None:
    api = BatchesHarness(tmp_path)
    refused = await api.call("POST", FILES, data=data, files=files)
    assert assert_error(refused, 400, code)["param"] == param
    assert list((tmp_path / "files").iterdir()) == []
    api.batches.close()


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", ""])
async def test_only_a_form_with_files_is_read(tmp_path: Path, kind: str) -> None:
    async def unread() -> Any:
        yield pytest.fail("it was read")

    api = BatchesHarness(tmp_path)
    headers = {"content-type": kind}
    refused = await api.call("POST", FILES, content=unread(), headers=headers)
    error = assert_error(refused, 400, "missing_required_parameter")
    assert "multipart/form-data" in error["message"]
    api.batches.close()


async def chunked(content: bytes) -> Any:
    yield content


@pytest.mark.parametrize("declared", [True, False])
async def test_a_file_over_the_limit_is_refused_and_one_over_that_of_bodies_is_not(
    tmp_path: Path, declared: bool
) -> None:
    sections = {"http": {"max_body_bytes": 1024}, "batches": {"max_file_bytes": 200_000}}
    api = BatchesHarness(tmp_path, sections)
    assert (await api.upload(b"x" * 200_000)).status_code == 200
    assert_error(await api.upload(b"x" * 200_001), 413, "request_too_large")
    request = httpx.Request("POST", "http://test", files={"file": ("a", b"x" * 300_000)})
    body = request.read()
    headers = {"content-type": request.headers["content-type"]}
    content = body if declared else chunked(body)
    refused = await api.call("POST", FILES, content=content, headers=headers)
    assert_error(refused, 413, "request_too_large")
    assert len(list((tmp_path / "files").iterdir())) == 1
    api.batches.close()


async def test_a_full_server_refuses_before_it_reads_the_file(tmp_path: Path) -> None:
    api = BatchesHarness(tmp_path, {"batches": {"limit_bytes": 3000}})
    first = (await api.upload(b"x" * 2000)).json()
    error = assert_error(await api.upload(b"x" * 2000), 507, "batches_full")
    assert "batches.limit_bytes = 3000" in error["message"]
    await api.ask("DELETE", f"{FILES}/{first['id']}")
    assert (await api.upload(b"x" * 2000)).status_code == 200
    api.batches.close()


@settings(max_examples=50, deadline=None)
@given(
    body=st.binary(max_size=60)
    | st.lists(
        st.sampled_from([
            b"--b", b"--b--", b"\r\n", b"\n", b"content-disposition: form-data; name=\"file\"",
            b"; filename=\"a\"", b"; filename*=utf-8''%ff", b"Content-Type: x/y", b":", b"\xff",
            b"content-disposition: form-data; name=\"purpose\"", b"\r\n\r\n", b"batch",
        ]),
        max_size=16,
    ).map(b"".join),
    kind=st.sampled_from([
        "multipart/form-data; boundary=b", "multipart/form-data", "application/json", "",
        "multipart/form-data; boundary=b; charset=utf-16", "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=" + "b" * 300,
    ]),
)  # fmt: skip
def test_no_form_makes_an_internal_error(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, kind: str
) -> None:
    async def scenario() -> httpx.Response:
        api = BatchesHarness(tmp_path_factory.mktemp("files"))
        response = await api.call("POST", FILES, content=body, headers={"content-type": kind})
        api.batches.close()
        return response

    response = asyncio.run(scenario())
    if response.status_code != 200:
        assert_error(response, 400, response.json()["error"]["code"])


async def slow(parts: list[bytes], sent: asyncio.Event, go_on: asyncio.Event) -> Any:
    """A body whose last part comes when it may."""
    for part in parts[:-1]:
        yield part
    sent.set()
    await go_on.wait()
    yield parts[-1]


def form_of(content: bytes) -> tuple[bytes, dict[str, str]]:
    request = httpx.Request(
        "POST", "http://test", files={"file": ("a", content)}, data={"purpose": "batch"}
    )
    return request.read(), {"content-type": request.headers["content-type"]}


class Uploading:
    """An upload that has begun and does not end by itself: so many bytes of it have come."""

    def __init__(self, base: str, key: str, content: bytes, announced: int | None = None) -> None:
        body, headers = form_of(content)
        if announced is not None:
            headers["content-length"] = str(announced)
        self._sent, self._go_on = asyncio.Event(), asyncio.Event()
        self._parts = [body[:-1], body[-1:]]
        self._request = {"headers": headers | {"authorization": f"Bearer {key}"}}
        self._base = base

    async def __aenter__(self) -> "Uploading":
        self._task = asyncio.create_task(self._send())
        await asyncio.wait(
            [asyncio.create_task(self._sent.wait()), self._task],
            return_when=asyncio.FIRST_COMPLETED,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _send(self) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self._base) as http:
            content = slow(self._parts, self._sent, self._go_on)
            return await http.post(FILES, content=content, **self._request)

    async def finish(self) -> httpx.Response:
        self._go_on.set()
        return await self._task


async def put(base: str, key: str, content: bytes) -> httpx.Response:
    body, headers = form_of(content)
    headers["authorization"] = f"Bearer {key}"
    async with httpx.AsyncClient(base_url=base) as http:
        return await http.post(FILES, content=body, headers=headers)


async def test_what_an_upload_announces_takes_nothing_from_others(tmp_path: Path) -> None:
    api = BatchesHarness(tmp_path, {"batches": {"limit_bytes": 100_000}})
    async with (
        serving(api.app) as base,
        Uploading(base, "liar", b"x" * 1000, announced=90_000),
        Uploading(base, "liar", b"x" * 1000, announced=90_000),
    ):
        assert (await put(base, "mine", b"x" * 60_000)).status_code == 200
    api.batches.close()


async def test_uploads_that_grow_too_large_together_are_refused_and_others_come(
    tmp_path: Path,
) -> None:
    api = BatchesHarness(tmp_path, {"batches": {"limit_bytes": 3 << 20}})
    async with serving(api.app) as base:
        async with Uploading(base, "a", b"x" * (2 << 20)) as first:
            async with Uploading(base, "b", b"x" * (2 << 20)) as second:
                assert_error(await second.finish(), 507, "batches_full")
            assert (await first.finish()).status_code == 200
        assert (await put(base, "b", b"x" * (1 << 19))).status_code == 200
    api.batches.close()


async def test_so_many_uploads_come_at_once(tmp_path: Path) -> None:
    api = BatchesHarness(tmp_path, {"batches": {"max_uploads": 2}})
    async with serving(api.app) as base:
        async with Uploading(base, "a", b"x") as first, Uploading(base, "b", b"x"):
            refused = await put(base, "c", b"x")
            assert_error(refused, 429, "queue_full")
            assert int(refused.headers["retry-after"]) > 0
            assert (await first.finish()).status_code == 200
            assert (await put(base, "c", b"x")).status_code == 200
        assert (await put(base, "c", b"x")).status_code == 200
    api.batches.close()


async def test_one_of_several_keys_leaves_others_room_to_upload(tmp_path: Path) -> None:
    keys = write_keys(tmp_path / "keys.toml", {"alice": {}, "bob": {}})
    http = {"keys_file": str(tmp_path / "keys.toml")}
    api = BatchesHarness(tmp_path, {"http": http, "batches": {"max_uploads": 3}})
    async with (
        serving(api.app) as base,
        Uploading(base, keys["alice"], b"x"),
        Uploading(base, keys["alice"], b"x"),
    ):
        assert_error(await put(base, keys["alice"], b"x"), 429, "queue_full")
        assert (await put(base, keys["bob"], b"x")).status_code == 200
    api.batches.close()


async def test_a_full_disk_is_no_internal_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = BatchesHarness(tmp_path)

    async def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("starlette.datastructures.UploadFile.write", full)
    assert_error(await api.upload(b"x"), 507, "batches_full")
    monkeypatch.undo()
    assert (await api.upload(b"x")).status_code == 200
    api.batches.close()
