"""What clients see whose requests are refused before their bodies have been read."""

import asyncio
import json

import pytest

from tests.api.harness import COMPLETIONS, Harness, serving
from tests.api.test_bounded_connections import BODY, LIVE, POST, WHOLE, connected, exchange, parsed

pytestmark = pytest.mark.anyio

SIZE = 32 << 20
"""More than the buffers of both sides hold: it cannot be sent unless the server reads it."""

REFUSALS = {
    "too large": (b"", 413),
    "another origin": (b"origin: http://evil.example\r\n", 403),
    "another host": (b"host: evil.example\r\n", 421),
    "no route": (b"", 404),
    "no key": (b"", 401),
}


def api_for(refusal: str) -> Harness:
    http = {"no key": {"api_key": "k"}, "too large": {"max_body_bytes": 4096}}
    return Harness({"http": {"max_body_bytes": SIZE * 2, **http.get(refusal, {})}})


def head_of(refusal: str, *lines: bytes) -> bytes:
    path = b"/v1/nothing" if refusal == "no route" else COMPLETIONS.encode()
    added = REFUSALS[refusal][0]
    host = b"" if b"host: " in added else b"host: localhost\r\n"
    return b"".join((b"POST ", path, b" HTTP/1.1\r\n", host, added, *lines))


async def send_all(url: str, head: bytes, body: bytes) -> bytes:
    """As most clients do: the answer is looked for when the body has been sent."""
    async with connected(url) as (reader, writer):
        writer.write(head + b"\r\n")
        for start in range(0, len(body), 1 << 20):
            writer.write(body[start : start + (1 << 20)])
            await writer.drain()
        return await reader.read()


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
async def test_who_sends_all_of_a_body_sees_why_it_was_refused(
    refusal: str, framing: str, version: bytes
) -> None:
    status = REFUSALS[refusal][1]
    body, length = b"x" * SIZE, b"content-length: %d\r\n" % SIZE
    if framing == "chunks":
        body, length = b"%x\r\n%b\r\n0\r\n\r\n" % (SIZE, body), b"transfer-encoding: chunked\r\n"
    head = head_of(refusal, length, b"connection: close\r\n").replace(b"HTTP/1.1", version)
    async with serving(api_for(refusal).app) as url:
        found, error = parsed(await send_all(url, head, body))
    assert found == status, error


async def go_on(writer: asyncio.StreamWriter, sent: bytes) -> None:
    """Send it again and again, until the server has had enough."""
    while True:
        writer.write(sent)
        await writer.drain()
        await asyncio.sleep(0)


async def test_who_goes_on_sending_or_does_not_leave_is_cut() -> None:
    api = Harness({"http": {"max_body_bytes": 4096}})
    head = POST + b"content-length: 99999999999\r\nconnection: close\r\n\r\n"
    async with serving(api.app, long_linger_seconds=0.2) as url:
        for sent in (b"", b"x" * (256 << 10)):
            async with connected(url) as (reader, writer):
                writer.write(head)
                assert parsed(await reader.read())[0] == 413
                with pytest.raises(OSError):
                    await go_on(writer, sent or b"x")


async def test_others_take_the_place_of_who_was_refused_and_goes_on_sending() -> None:
    api = Harness({"http": {"max_body_bytes": 4096}})
    head = POST + b"content-length: 99999999\r\nconnection: close\r\n\r\n"
    async with serving(api.app, max_connections=1) as url, connected(url) as (reader, writer):
        writer.write(head + b"x")
        assert parsed(await reader.read())[0] == 413
        assert (await exchange(url, LIVE_AND_CLOSE)).startswith(b"HTTP/1.1 200 ")
        with pytest.raises(OSError):
            await go_on(writer, b"x")


LIVE_AND_CLOSE = LIVE.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("expected", [b"100-continue", b"100-Continue"])
async def test_who_waits_to_be_asked_for_a_body_and_is_refused_must_not_go_on(
    refusal: str, expected: bytes
) -> None:
    # What comes next would be taken for the body that the client keeps to itself.
    lines = b"content-length: 99999\r\n", b"expect: " + expected + b"\r\n\r\n"
    async with serving(api_for(refusal).app) as url:
        found, error = parsed(await exchange(url, head_of(refusal, *lines) + LIVE))
    assert found == REFUSALS[refusal][1], error


async def test_who_is_asked_for_a_body_may_go_on() -> None:
    expecting = POST + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(BODY)
    async with serving(Harness().app) as url, connected(url) as (reader, writer):
        writer.write(expecting)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(BODY + LIVE_AND_CLOSE)
        response = await reader.read()
    assert response.count(b"HTTP/1.1 200 ") == 2


SHAPES = {
    b"/v1/messages": ("type", "error", "request_id"),
    b"/v1/messages/count_tokens?a": ("type", "error", "request_id"),
    b"/api/chat": ("error",),
    b"/v1/chat/completions": ("error",),
}


@pytest.mark.parametrize("path", SHAPES)
@pytest.mark.parametrize("wrong", [b"x: " + b"y" * 70_000, b"x : y"])
async def test_what_is_refused_before_there_is_a_request_has_the_shape_of_its_path(
    path: bytes, wrong: bytes
) -> None:
    sent = WHOLE.replace(COMPLETIONS.encode(), path).replace(b"\r\n", b"\r\n" + wrong + b"\r\n", 1)
    async with serving(Harness().app) as url:
        head, _, body = (await exchange(url, sent)).partition(b"\r\n\r\n")
    content = json.loads(body)
    assert tuple(content) == SHAPES[path]
    if path == b"/api/chat":
        assert isinstance(content["error"], str)
    if "request_id" in content:
        assert b"\r\nrequest-id: " + content["request_id"].encode() in head
