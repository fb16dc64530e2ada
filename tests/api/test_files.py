"""/v1/files: what is uploaded comes back, within bounds, and only to its owner."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api.batches_harness import FILES, BatchesHarness
from tests.api.harness import assert_error

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
