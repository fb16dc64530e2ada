"""Clients of HTTP/1.0: no chunks, and the connection ends with the answer."""

import json

import pytest

from tests.api.harness import CHAT, COMPLETIONS, Harness, events, serving
from tests.api.test_bounded_connections import connected, exchange

pytestmark = pytest.mark.anyio

KEEP = ["", "connection: keep-alive\r\n", "connection: Keep-Alive\r\nkeep-alive: timeout=9\r\n"]


def asked(path: str, more: str = "", method: str = "POST", **body: object) -> bytes:
    content = json.dumps(body).encode() if body else b""
    head = f"{method} {path} HTTP/1.0\r\nhost: a\r\nuser-agent: ApacheBench/2.3\r\n{more}"
    if body:
        head += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n"
    return head.encode() + b"\r\n" + content


def parsed(received: bytes) -> tuple[int, bytes, bytes]:
    """Status, head and body of the only response."""
    head, _, body = received.partition(b"\r\n\r\n")
    assert received.count(b"HTTP/1.1 ") == 1
    assert b"\r\ntransfer-encoding" not in head
    assert b"\r\nconnection: close" in head
    return int(head.split()[1]), head, body


@pytest.mark.parametrize("more", KEEP)
async def test_a_whole_answer_has_its_length(more: str) -> None:
    async with serving(Harness().app) as url:
        for sent in (asked(COMPLETIONS, more, prompt="a"), asked("/live", more, "GET")):
            status, head, body = parsed(await exchange(url, sent))
            assert status == 200
            assert f"content-length: {len(body)}".encode() in head
            json.loads(body)
        for sent in (asked("/no", more, "GET"), asked(COMPLETIONS, more, prompt=[[[]]])):
            status, _, body = parsed(await exchange(url, sent))
            assert (status, list(json.loads(body))) in [(404, ["error"]), (400, ["error"])]


STREAMS = {
    COMPLETIONS: {"prompt": "a", "stream": True},
    CHAT: {"messages": [{"role": "user", "content": "a"}], "stream": True},
    "/api/generate": {"model": "org/tiny", "prompt": "a"},
}


@pytest.mark.parametrize("more", KEEP)
@pytest.mark.parametrize("path", STREAMS)
async def test_a_stream_comes_as_it_is_made_and_ends_with_the_connection(
    path: str, more: str
) -> None:
    api = Harness(hold_after=1)
    async with serving(api.app) as url, connected(url) as (reader, writer):
        writer.write(asked(path, more, **STREAMS[path]))
        first = await reader.readuntil(b"Hello")
        assert not reader.at_eof()
        api.worker.release()
        status, head, body = parsed(first + await reader.read())
    assert (status, b"content-length" in head) == (200, False)
    if path.startswith("/api"):
        made = [json.loads(line) for line in body.decode().splitlines()]
        assert made[-1]["done"]
    else:
        *made, last = events(body.decode())
        assert last == "[DONE]"
        assert all(json.loads(each)["choices"] for each in made)


async def test_a_long_answer_arrives_whole() -> None:
    async with serving(Harness().app) as url:
        sent = asked("/openapi.json", "", "GET")
        _, _, plain = parsed(await exchange(url, sent))
        assert len(plain) > 100_000
        json.loads(plain)


async def test_head_and_requests_sent_ahead() -> None:
    async with serving(Harness().app) as url:
        _, _, body = parsed(await exchange(url, asked("/", KEEP[1], "HEAD")))
        assert body == b""
        ahead = asked(COMPLETIONS, KEEP[1], prompt="a") * 3
        status, _, body = parsed(await exchange(url, ahead))  # only the first has an answer
        assert (status, json.loads(body)["object"]) == (200, "text_completion")


async def test_nobody_is_told_to_go_on() -> None:
    async with serving(Harness().app) as url:
        sent = asked(COMPLETIONS, "expect: 100-continue\r\n", prompt="a")
        assert parsed(await exchange(url, sent))[0] == 200
