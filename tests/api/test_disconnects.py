"""A client that leaves takes its requests along, at whatever stage they are."""

import asyncio
import json
import logging
from typing import Any

import httpx
import pytest
from starlette.types import Message

from tests.api.harness import CHAT, COMPLETIONS, Harness, serving
from tests.fakes import PATIENCE

pytestmark = pytest.mark.anyio

BODY = {"prompt": "a", "messages": [{"role": "user", "content": "hi"}], "n": 2}


async def open_request(url: str, path: str, body: dict[str, Any]) -> asyncio.StreamWriter:
    """Send a request over a connection of its own, which the caller closes."""
    host, port = url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
    await writer.drain()
    return writer


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("stage", ["queued or in prefill", "decoding"])
async def test_closing_the_connection_aborts(path: str, stream: bool, stage: str) -> None:
    pieces = 0 if stage == "queued or in prefill" else 2
    api = Harness(hold_after=pieces)
    async with serving(api.app) as url:
        writer = await open_request(url, path, BODY | {"stream": stream})
        await api.worker.until(
            lambda: len(api.worker.generated) == 2 and api.worker.pieces_sent == 2 * pieces
        )
        assert api.worker.aborted == []
        writer.close()
        await api.worker.until(lambda: len(api.worker.aborted) == 2)
    assert sorted(api.worker.aborted) == [each.request_id for each in api.worker.generated]
    assert api.client.active_requests == 0


async def test_a_reader_that_stops_reading_and_leaves_aborts() -> None:
    api = Harness(script=lambda _: ["x" * (1 << 20)] * 40, hold_after=39)
    async with serving(api.app) as url:
        writer = await open_request(url, COMPLETIONS, {"prompt": "a", "n": 1, "stream": True,
                                                       "max_tokens": 100})  # fmt: skip
        # The server is stuck in sending: nobody reads.
        await api.worker.until(lambda: api.worker.pieces_sent == 39)
        writer.transport.abort()
        await api.worker.until(lambda: len(api.worker.aborted) == 1)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_left_while_its_prompt_was_encoded(
    stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    api = Harness(hold_after=0)
    content = json.dumps({"prompt": "a" * 20_000, "stream": stream}).encode()
    incoming: list[Message] = [
        {"type": "http.request", "body": content, "more_body": False},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(_: Message) -> None:
        pass

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": COMPLETIONS,
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    async with asyncio.timeout(PATIENCE):
        await api.app(scope, receive, send)
    assert api.worker.generated == []
    assert f"POST {COMPLETIONS} 499 " in caplog.text


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cancelled_handler_aborts(stream: bool) -> None:
    api = Harness(hold_after=1)
    async with api.http() as http:
        request = asyncio.create_task(http.post(CHAT, json=BODY | {"stream": stream}))
        await api.worker.until(lambda: api.worker.pieces_sent == 2)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
    assert len(api.worker.aborted) == 2
    assert api.client.active_requests == 0


async def test_a_finished_request_is_not_aborted() -> None:
    api = Harness()
    async with serving(api.app) as url, httpx.AsyncClient() as http:
        for stream in (False, True):
            response = await http.post(url + CHAT, json=BODY | {"stream": stream})
            assert response.status_code == 200
    assert len(api.worker.generated) == 4
    assert api.worker.aborted == []
    assert api.client.active_requests == 0


async def test_others_go_on_when_one_leaves() -> None:
    api = Harness(hold_after=1)
    async with serving(api.app) as url, httpx.AsyncClient() as http:
        staying = asyncio.create_task(http.post(url + CHAT, json=BODY | {"n": 1}))
        await api.worker.until(lambda: api.worker.pieces_sent == 1)
        leaving = await open_request(url, CHAT, BODY | {"n": 1})
        await api.worker.until(lambda: api.worker.pieces_sent == 2)
        leaving.close()
        await api.worker.until(lambda: len(api.worker.aborted) == 1)
        api.worker.release()
        answer = (await staying).json()
    assert answer["choices"][0]["message"]["content"] == "Hello, wörld"
    assert api.worker.aborted == [api.worker.generated[1].request_id]
