"""Compressed request bodies: what they unpack to is what counts."""

import asyncio
import gzip
import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.api.bodies.codings import KNOWN, OUTPUT_BYTES
from server.api.bodies.decoding import BodyDecoding
from server.api.bodies.memory import BodyMemory
from server.api.errors import ApiError
from tests.api.batches_harness import FILES, BatchesHarness
from tests.api.encoders import CODERS, ENCODERS, Encode, zstd
from tests.api.harness import CHAT, COMPLETIONS, Harness, assert_error, serving
from tests.api.test_bounded_connections import connected

pytestmark = pytest.mark.anyio


JSON = {"content-type": "application/json"}


async def post(api: Harness, coding: str, content: bytes, path: str = COMPLETIONS) -> Any:
    async with api.http() as http:
        headers = JSON | {"content-encoding": coding}
        return await http.post(path, content=content, headers=headers)


@pytest.mark.parametrize(("coding", "encode"), CODERS)
@pytest.mark.parametrize("size", [1, 300_000])
async def test_a_body_is_as_if_it_had_not_been_compressed(
    coding: str, encode: Encode, size: int
) -> None:
    api = Harness()
    body = {"prompt": "ab" * size, "max_tokens": 2, "stream": False}
    response = await post(api, coding, encode(json.dumps(body).encode()))
    assert response.status_code == 200, response.text
    assert response.json()["usage"]["prompt_tokens"] == 2 * size
    assert "content-encoding" not in response.headers


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize(("coding", "encode"), CODERS)
async def test_over_a_socket_and_the_connection_stays(
    coding: str, encode: Encode, is_chunked: bool
) -> None:
    content = encode(json.dumps({"prompt": "ab" * 40_000}).encode())

    async def pieces() -> Any:
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]

    api = Harness()
    async with serving(api.app) as url, httpx.AsyncClient(base_url=url) as http:
        for _ in range(2):
            response = await http.post(
                COMPLETIONS,
                content=pieces() if is_chunked else content,
                headers=JSON | {"content-encoding": coding},
            )
            assert response.json()["usage"]["prompt_tokens"] == 80_000, response.text


@pytest.mark.parametrize("coding", ["br", "compress", "x" * 9000, "gzip;q=1", "zst d", "\x80"])
@pytest.mark.parametrize("path", [COMPLETIONS, FILES, "/v1/messages", "/api/chat"])
async def test_an_unknown_coding_is_415_and_the_known_are_named(coding: str, path: str) -> None:
    api = Harness()
    async with api.http() as http:
        headers = [(b"content-encoding", coding.encode("latin-1"))]
        response = await http.post(path, content=b"{}", headers=headers)
    assert response.status_code == 415
    assert response.headers["accept-encoding"] == "gzip, deflate, zstd"
    error = response.json()["error"]
    message = error if isinstance(error, str) else error["message"]
    assert message.startswith("Content-Encoding: ")
    assert "gzip, deflate, zstd" in message
    assert len(message) < 150


@pytest.mark.parametrize("coding", ["gzip, gzip", "zstd,gzip", "br, gzip"])
async def test_several_codings_are_415(coding: str) -> None:
    error = assert_error(await post(Harness(), coding, b"{}"), 415, "unsupported_encoding")
    assert "at most one" in error["message"]
    async with Harness().http() as http:
        headers = [("content-encoding", each) for each in coding.split(",")]
        response = await http.post(COMPLETIONS, content=b"{}", headers=headers)
    assert_error(response, 415, "unsupported_encoding")


async def test_without_a_body_a_coding_says_nothing() -> None:
    async with Harness().http() as http:
        for coding in ("br", "gzip", "gzip, gzip"):
            response = await http.get("/v1/models", headers={"content-encoding": coding})
            assert response.status_code == 200
        response = await http.post(COMPLETIONS, headers=JSON | {"content-encoding": "gzip"})
        assert_error(response, 400, "invalid_value")


BODY = json.dumps({"prompt": "ab" * 500 + os.urandom(300).hex(), "max_tokens": 2}).encode()


@pytest.mark.parametrize("coding", KNOWN)
async def test_what_is_cut_or_corrupt_is_400_and_names_the_coding(coding: str) -> None:
    whole = ENCODERS[coding](BODY)
    wrong = [whole[:size] for size in range(1, len(whole), 37)]
    wrong += [b"{}", BODY, whole + b"x", whole[:-1], b"\0" * 100_000, whole[1:]]
    middle = len(whole) // 2
    wrong += [whole[:middle] + b"\xff" * 40 + whole[middle + 40 :]]
    if coding == "deflate":
        wrong += [whole + whole]
    api = Harness()
    for content in wrong:
        error = assert_error(await post(api, coding, content), 400, "invalid_encoding")
        assert f"not valid {coding}" in error["message"]
        assert "\n" not in error["message"]
    assert api.worker.generated == []


async def test_a_window_beyond_that_of_http_is_400() -> None:
    coder = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 24})
    content = coder.compress(b"{}") + coder.flush()
    assert_error(await post(Harness(), "zstd", content), 400, "invalid_encoding")


LIMIT = 1 << 20
BOMB = b"\0" * (32 << 20)


@pytest.mark.parametrize("coding", KNOWN)
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, "/v1/messages", "/api/chat", "/tokenize"])
async def test_the_bound_is_on_what_it_unpacks_to(coding: str, path: str) -> None:
    api = Harness({"http": {"max_body_bytes": LIMIT}})
    response = await post(api, coding, ENCODERS[coding](b" " * (LIMIT + 1)), path)
    assert response.status_code == 413
    assert "when it is unpacked" in response.text
    response = await post(api, coding, ENCODERS[coding](b'{"prompt": "a"}'.ljust(LIMIT)))
    assert response.status_code == 200
    noise = os.urandom(LIMIT + 10_000)
    assert_error(await post(api, coding, ENCODERS[coding](noise)), 413, "request_too_large")


async def test_an_upload_is_unpacked_within_the_bound_of_files(tmp_path: Path) -> None:
    api = BatchesHarness(tmp_path, {"batches": {"max_file_bytes": LIMIT}})
    request = httpx.Request("POST", "http://x", data={"purpose": "batch"}, files={"file": b"{}\n"})
    form, headers = request.read(), {"content-type": request.headers["content-type"]}
    large = form.replace(b"{}\n", b" " * (3 * LIMIT))
    for coding, encode in ENCODERS.items():
        headers["content-encoding"] = coding
        file = await api.ask("POST", FILES, content=encode(form), headers=headers)
        assert file["bytes"] == 3
        response = await api.call("POST", FILES, content=encode(large), headers=headers)
        assert_error(response, 413, "request_too_large")
        response = await api.call("POST", FILES, content=encode(form)[:-1], headers=headers)
        assert_error(response, 400, "invalid_encoding")
    assert len((await api.ask("GET", FILES))["data"]) == 3
    api.batches.close()


class Reader:
    """An app that reads a body to its end."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.turns: list[int] = []
        self.turn = 0

    async def __call__(self, _scope: Any, receive: Any, _send: Any) -> None:
        ticking = asyncio.create_task(self._tick())
        try:
            while True:
                message = await receive()
                self.sizes.append(len(message["body"]))
                self.turns.append(self.turn)
                if not message["more_body"]:
                    return
        finally:
            ticking.cancel()

    async def _tick(self) -> None:
        while True:
            self.turn += 1
            await asyncio.sleep(0)


def scope_of(coding: str, size: int) -> dict[str, Any]:
    headers = [(b"content-encoding", coding.encode()), (b"content-length", b"%d" % size)]
    return {"type": "http", "path": "/", "headers": headers, "method": "POST"}


def whole(content: bytes) -> Any:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    return receive


@pytest.mark.parametrize("coding", KNOWN)
async def test_a_bomb_is_unpacked_up_to_the_bound_in_pieces_between_which_others_run(
    coding: str,
) -> None:
    content, app = ENCODERS[coding](BOMB), Reader()
    assert len(content) < len(BOMB) / 900
    receive = whole(content)
    with pytest.raises(ApiError, match="unpacked"):
        await BodyDecoding(app, lambda _: LIMIT)(scope_of(coding, len(content)), receive, None)
    assert sum(app.sizes) <= LIMIT
    assert max(app.sizes) <= OUTPUT_BYTES
    assert app.turns == sorted(set(app.turns))  # a turn for others between any two


async def test_the_memory_of_bodies_counts_what_they_unpack_to() -> None:
    async def never(scope: Any, receive: Any, send: Any) -> None:
        await Reader()(scope, receive, send)
        await asyncio.Event().wait()

    memory = BodyMemory(never, LIMIT, lambda _: False, patience=0.01)
    app = BodyDecoding(memory, lambda _: 4 * LIMIT)
    content = gzip.compress(b"\0" * LIMIT)
    first = asyncio.create_task(app(scope_of("gzip", len(content)), whole(content), None))
    while memory.held < LIMIT - OUTPUT_BYTES:
        await asyncio.sleep(0)
    with pytest.raises(ApiError, match="as many large request bodies"):
        await app(scope_of("gzip", len(content)), whole(content), None)
    first.cancel()


async def test_a_refused_coding_leaves_the_connection_in_order() -> None:
    head = f"POST {COMPLETIONS} HTTP/1.1\r\nhost: a\r\ncontent-encoding: br\r\n".encode()
    body = b"content-length: 300000\r\n\r\n" + b"x" * 300_000
    async with serving(Harness().app) as url, connected(url) as (reader, writer):
        writer.write(head + body + b"GET /live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        answers = await reader.read()
    assert answers.startswith(b"HTTP/1.1 415 ")
    assert answers.count(b"HTTP/1.1 ") in (1, 2)
