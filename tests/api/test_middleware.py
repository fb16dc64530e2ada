"""Request ids, the access log, and the limit on bodies."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from server.api.middleware import RequestContext
from server.logs import JsonFormatter
from server.telemetry.request_metrics import RequestMetrics
from tests.api.harness import CHAT, COMPLETIONS, Harness, assert_error, serving

pytestmark = pytest.mark.anyio

LIMITED = {"http": {"max_body_bytes": 1024}}


@pytest.mark.parametrize("given", ["my-id", "x" * 128, "{}[]!~"])
async def test_a_sane_request_id_comes_back(given: str) -> None:
    async with Harness().http() as http:
        response = await http.get("/health", headers={"x-request-id": given})
    assert response.headers.get_list("x-request-id") == [given]


@pytest.mark.parametrize("given", [None, "", "x" * 129, "a b", "é", "a\tb", "a\x7f"])
async def test_else_one_is_made(given: str | None) -> None:
    headers = [] if given is None else [(b"x-request-id", given.encode("latin-1"))]
    async with Harness().http() as http:
        first = await http.get("/health", headers=headers)
        second = await http.get("/health", headers=headers)
    ids = [response.headers["x-request-id"] for response in (first, second)]
    assert all(ident.startswith("req_") and len(ident) == 36 for ident in ids)
    assert ids[0] != ids[1]


async def test_a_stream_has_a_request_id() -> None:
    response = await Harness().post(COMPLETIONS, prompt="a", stream=True)
    assert response.headers["x-request-id"].startswith("req_")


async def test_the_access_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "server.api.access")
    api = Harness()
    await api.post(COMPLETIONS, prompt="abcd")
    await api.post(COMPLETIONS, prompt="abcd", stream=True)
    await api.post("/v1/no%0Athing")
    lines = [record.getMessage() for record in caplog.records if "access" in record.name]
    parts = [line.rsplit(" ", 4) for line in lines]
    assert parts[0][0] == parts[1][0] == "POST /v1/completions 200"
    assert parts[0][2:] == parts[1][2:] == ["ms", "4+3", "tokens"]
    assert lines[2].startswith("POST '/v1/no\\nthing' 404 ")


async def test_the_access_log_has_its_parts_as_fields_and_no_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    api = Harness()
    await api.post(COMPLETIONS, prompt="a secret", n=2, stream=True)
    await api.post(COMPLETIONS, prompt="a secret", temperature=-1)
    lines = [record for record in caplog.records if record.name == "server.api.access"]
    first, second = (json.loads(JsonFormatter().format(line)) for line in lines)
    assert first.pop("ms") > 0
    assert {key: first[key] for key in ("method", "path", "status")} == {
        "method": "POST",
        "path": COMPLETIONS,
        "status": 200,
    }
    assert (first["prompt_tokens"], first["completion_tokens"], first["cached_tokens"]) == (8, 6, 0)
    assert first["finish_reasons"] == ["stop", "stop"]
    assert (second["status"], second["error_code"]) == (400, "invalid_value")
    formatted = [JsonFormatter().format(record) for record in caplog.records]
    assert not any("secret" in line or "Hello" in line for line in formatted)


async def test_a_long_path_is_logged_in_part(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "server.api.access")
    async with serving(Harness().app) as url, httpx.AsyncClient() as http:
        assert (await http.get(f"{url}/{'%F0%9F%98%80' * 4000}")).status_code == 404
    (line,) = [each for each in caplog.records if each.name == "server.api.access"]
    assert len(JsonFormatter().format(line)) < 30_000
    assert len(line.fields["path"]) == 1000


def body_of(size: int) -> bytes:
    """A valid request of so many bytes."""
    content = json.dumps({"prompt": "a", "user": ""}).encode()
    return content.replace(b'"user": "', b'"user": "' + b"u" * (size - len(content)))


async def in_parts(content: bytes) -> AsyncIterator[bytes]:
    """Sent chunked, without a content-length."""
    for start in range(0, len(content), 100):
        yield content[start : start + 100]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_a_body_over_the_limit(chunked: bool, path: str) -> None:
    api = Harness(LIMITED)
    content = body_of(1025)
    async with serving(api.app) as url, httpx.AsyncClient() as http:
        response = await http.post(
            url + path,
            content=in_parts(content) if chunked else content,
            headers={"content-type": "application/json"},
        )
        assert_error(response, 413, "request_too_large")
        assert (await http.get(url + "/health")).status_code == 200
    assert api.worker.generated == []


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_at_the_limit(chunked: bool) -> None:
    api = Harness(LIMITED)
    content = body_of(1024)
    async with serving(api.app) as url, httpx.AsyncClient() as http:
        response = await http.post(
            url + COMPLETIONS,
            content=in_parts(content) if chunked else content,
            headers={"content-type": "application/json"},
        )
    assert response.status_code == 200, response.text


async def test_an_endless_body_is_refused_on_the_way() -> None:
    api = Harness(LIMITED)
    refused = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while not refused.is_set():
            yield b" " * 512
            await asyncio.sleep(0)

    async def post() -> httpx.Response:
        async with api.http() as http:
            headers = {"content-type": "application/json"}
            response = await http.post(CHAT, content=endless(), headers=headers)
        refused.set()
        return response

    assert_error(await post(), 413, "request_too_large")


async def test_a_bug_after_the_start_does_not_start_a_second_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sent: list[Message] = []

    async def breaks(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    async def receive() -> Message:
        raise AssertionError("nobody asks")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    await RequestContext(breaks, RequestMetrics())(scope, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start"]
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("declared", ["1025", "9" * 5000])
async def test_a_declared_length_is_enough_to_refuse(declared: str) -> None:
    async with Harness(LIMITED).http() as http:
        headers = {"content-length": declared, "content-type": "application/json"}
        response = await http.post(CHAT, content=b"{}", headers=headers)
    assert_error(response, 413, "request_too_large")
