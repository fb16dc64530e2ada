"""Offers of other protocols, which are ignored (RFC 9110, 7.8) with nothing lost of the request."""

import json

import pytest

from tests.api.harness import CHAT, COMPLETIONS, Harness, serving
from tests.api.test_bounded_connections import answer, connected

pytestmark = pytest.mark.anyio

JDK = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
OFFERS = {
    "JDK": JDK,
    "Apache": "Upgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\nConnection: Upgrade, HTTP2-Settings\r\n",
    "curl": "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    "two lines": "connection: upgrade\r\nconnection: http2-settings\r\n"
    "upgrade: h2c\r\nupgrade: websocket\r\nhttp2-settings: AAMAAABk\r\n",
    "a list": "Connection: keep-alive, Upgrade\r\nUpgrade: TLS/1.3, h2c, IRC/6.9\r\n",
    "without Connection": "Upgrade: h2c\r\n",
    "without a name": "Connection: Upgrade\r\n",
    "empty": "Connection: Upgrade\r\nUpgrade:\r\n",
    "WebSocket": "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
}


def asked(offer: str, framing: str, size: int, path: str = COMPLETIONS) -> bytes:
    body = {"prompt": "a" * size, "messages": [{"role": "user", "content": "a" * size}]}
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n{offer}"
    if framing == "length":
        return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content
    pieces = [content[at : at + 16_384] for at in range(0, len(content), 16_384)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in [*pieces, b""])
    return f"{head}transfer-encoding: chunked\r\n\r\n".encode() + chunks


@pytest.mark.parametrize("by", [1, 70, 1 << 20])
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("name", OFFERS)
async def test_a_post_with_an_offer_keeps_its_body_and_its_connection(
    name: str, framing: str, by: int
) -> None:
    size = 200_000 if by > 1000 else 5
    sent = asked(OFFERS[name], framing, size)
    async with serving(Harness().app) as url, connected(url) as (reader, writer):
        for _ in range(2):
            for at in range(0, len(sent), by):
                writer.write(sent[at : at + by])
                await writer.drain()
            status, body = await answer(reader)
            assert (status, body["usage"]["prompt_tokens"]) == (200, size)
        writer.write(sent + sent)  # and those sent ahead theirs
        for _ in range(2):
            assert (await answer(reader))[1]["usage"]["prompt_tokens"] == size


@pytest.mark.parametrize("name", OFFERS)
@pytest.mark.parametrize("path", ["/v1/models", "/live", "/v1/realtime", "/v1/responses/x", CHAT])
async def test_offers_elsewhere_are_as_if_they_were_not_there(path: str, name: str) -> None:
    async with serving(Harness().app) as url, connected(url) as (reader, writer):
        answers = []
        for offer in ("", OFFERS[name]):
            writer.write(
                f"GET {path} HTTP/1.1\r\nhost: a\r\nx-request-id: x\r\n{offer}\r\n".encode()
            )
            answers.append(await answer(reader))
    assert answers[0] == answers[1]
    assert answers[0][0] in (200, 404, 405)
