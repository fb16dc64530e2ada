"""The size of a body changes nothing of its answer, or of its error, whoever's API it is."""

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.api.bodies.count import MAX_DIGITS, MAX_LEVELS
from server.api.bodies.threads import SMALL_BODY, off_loop
from server.api.conversation import conversation_of
from server.logs import request_id
from tests.api.harness import CHAT, COMPLETIONS, MODEL, Harness, assert_error

pytestmark = pytest.mark.anyio

MB = 1 << 20
JSON = "application/json"
VARYING = {"id", "created", "created_at", "completed_at", "request_id", "duration"}
USER = {"role": "user", "content": "Hi"}
BODIES: dict[str, dict[str, Any]] = {
    COMPLETIONS: {"prompt": "Hi", "max_tokens": 3, "seed": 1},
    CHAT: {"messages": [USER], "max_tokens": 3, "seed": 1},
    "/v1/messages": {"model": MODEL, "messages": [USER], "max_tokens": 3},
    "/api/chat": {"model": MODEL, "messages": [USER], "stream": False},
    "/v1/responses": {"input": "Hi", "store": False, "max_output_tokens": 16},
}
"""Path → a right body."""
WRONG: dict[str, bytes] = {
    "no JSON": b"{'prompt': 1}",
    "no end": b'{"prompt": "a',
    "more after the end": b"{} {}",
    "no UTF-8": b'{"prompt": "\xff"}',
    "half a pair": b'{"prompt": "\\ud800", "messages": [{"role": "user", "content": "\\udfff"}]}',
    "a list": b"[1]",
    "a list of objects": b'[{"prompt": "a"}]',
    "a string": b'"prompt"',
    "a number": b"17",
    "null": b"null",
    "no fields": b"{}",
    "wrong types": b'{"prompt": {"a": 1}, "messages": 5, "input": 1, "model": []}',
    "wrong items": b'{"prompt": [null], "messages": [{"role": "x"}, 5], "input": [[]]}',
    "wrong numbers": b'{"prompt": "a", "messages": [], "input": "a", "max_tokens": -2}',
    "NaN": b'{"prompt": "a", "temperature": NaN}',
    "deep": b'{"prompt": ' + b"[" * (MAX_LEVELS + 1),
    "deep, but not too deep": b'{"prompt": ' + b"[" * 400 + b"]" * 400 + b"}",
    "a long number": b'{"max_tokens": ' + b"1" * (MAX_DIGITS + 1) + b"}",
    "a long number that is read": b'{"max_tokens": ' + b"1" * (MAX_DIGITS - 1) + b"}",
}
PADS = [0, SMALL_BODY + 1, MB + 1]


def scrubbed(value: Any) -> Any:
    """An answer without what differs each time."""
    if isinstance(value, dict):
        return {
            key: scrubbed(each)
            for key, each in value.items()
            if key not in VARYING and not key.endswith("_duration")
        }
    return [scrubbed(each) for each in value] if isinstance(value, list) else value


async def answer(
    path: str, body: bytes, content_type: str | None = JSON, api: Harness | None = None
) -> tuple[int, Any]:
    """Of a server that has answered nothing before, unless one is given."""
    headers = {} if content_type is None else {"content-type": content_type}
    async with (api or Harness()).http() as http:
        response = await http.post(path, content=body, headers=headers)
    return response.status_code, scrubbed(response.json())


@pytest.mark.parametrize("path", BODIES)
async def test_a_body_has_the_same_answer_in_any_size(path: str) -> None:
    body = json.dumps(BODIES[path]).encode()
    answers = [await answer(path, b" " * pad + body) for pad in PADS]
    assert answers[0][0] == 200, answers
    assert answers == [answers[0]] * len(PADS)
    for encoding in ("utf-8-sig", "utf-16", "utf-32-be"):
        assert await answer(path, body.decode().encode(encoding)) == answers[0]


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("path", BODIES)
async def test_a_wrong_body_has_the_same_error_in_any_size(path: str, name: str) -> None:
    api = Harness()
    answers = [await answer(path, b"\n" * pad + WRONG[name], api=api) for pad in PADS]
    status, error = answers[0]
    assert len({re.sub(r" at \d+\)", " at N)", repr(each)) for each in answers}) == 1
    if status == 200:  # there it is not wrong to ask for nothing
        assert path == "/api/chat" or (path == "/v1/completions" and WRONG[name] == b"{}")
        return
    assert status == 400
    if path == "/api/chat":
        assert list(error) == ["error"]
        assert isinstance(error["error"], str)
    elif path == "/v1/messages":
        assert (error["type"], error["error"]["type"]) == ("error", "invalid_request_error")
    else:
        assert list(error["error"]) == ["message", "type", "param", "code"]


@pytest.mark.parametrize("path", BODIES)
async def test_too_many_values_are_refused_in_the_words_of_the_api(path: str) -> None:
    async def refused(pad: int) -> httpx.Response:
        api = Harness({"http": {"max_body_values": 1024}})
        body = b'{"unknown": [' + b"[]," * 1100 + b"[]]}"
        return await api.post_bytes(path, b" " * pad + body)

    answers = [await refused(pad) for pad in PADS]
    assert {each.status_code for each in answers} == {413}
    assert len({json.dumps(scrubbed(each.json())) for each in answers}) == 1
    assert "http.max_body_values" in answers[0].text
    if path == "/v1/messages":
        assert answers[0].json()["error"]["type"] == "request_too_large"


@pytest.mark.parametrize("pad", PADS)
@pytest.mark.parametrize(
    "content_type",
    [JSON, "application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.x+json"],
)
async def test_all_that_is_said_to_be_json_is_read(content_type: str, pad: int) -> None:
    api = Harness()
    for path, body in BODIES.items():
        text = b" " * pad + json.dumps(body).encode()
        assert (await answer(path, text, content_type, api))[0] == 200


@pytest.mark.parametrize("pad", PADS)
@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "text/json", "application/x-www-form-urlencoded", "json", "a/b/json"],
)
async def test_what_is_not_said_to_be_json_is_not_read(content_type: str | None, pad: int) -> None:
    api = Harness()
    for path, body in BODIES.items():
        text = b" " * pad + json.dumps(body).encode()
        status, error = await answer(path, text, content_type, api)
        if path == "/api/chat":  # Ollama does not look at it
            assert status == 200
        else:
            assert status == 400
            assert "sent as content-type application/json" in error["error"]["message"]


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("content_type", [JSON, None, "text/plain"])
async def test_a_body_without_a_byte_is_refused(path: str, content_type: str | None) -> None:
    status, error = await answer(path, b"", content_type)
    assert status == 400
    assert "body" in json.dumps(error)


async def test_a_body_that_may_be_left_out_may_be_empty_or_null(tmp_path: Path) -> None:
    api = Harness({"responses": {"directory": str(tmp_path)}})
    path = "/v1/conversations"
    async with api.http() as http:
        for pad in PADS:
            for text in (b"{}", b"null", b'{"metadata": {}}'):
                headers = {"content-type": JSON}
                made = await http.post(path, content=b" " * pad + text, headers=headers)
                assert made.status_code == 200, (pad, text)
            response = await api.post_bytes(path, b" " * pad + b"[]")
            assert_error(response, 400, "invalid_value")
        for headers in ({}, {"content-type": JSON}):
            assert (await http.post(path, content=b"", headers=headers)).status_code == 200
    api.kept.close()


async def test_a_body_may_come_in_any_parts() -> None:
    body = json.dumps({**BODIES[CHAT], "unknown": "😀" * 9000}, ensure_ascii=False).encode()
    whole = await answer(CHAT, body)

    async def parts(size: int) -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]
        yield b""

    for size in (7, 1000, len(body)):
        async with Harness().http() as http:
            headers = {"content-type": JSON}
            response = await http.post(CHAT, content=parts(size), headers=headers)
        assert (response.status_code, scrubbed(response.json())) == whole


@pytest.mark.parametrize(
    ("path", "module"),
    [
        (CHAT, "server.api.routes.chat"),
        ("/v1/messages", "server.api.routes.messages"),
        ("/v1/messages/count_tokens", "server.api.routes.messages"),
        ("/api/chat", "server.api.routes.ollama"),
        ("/v1/responses", "server.api.responses.turn"),
        ("/tokenize", "server.api.routes.tokens"),
        ("/apply-template", "server.api.routes.tokens"),
        ("/v1/states", "server.api.plan"),
    ],
)
async def test_conversations_of_many_messages_are_made_elsewhere(
    path: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[bool] = []

    def recording(*args: Any) -> Any:
        threads.append(threading.current_thread() is threading.main_thread())
        return conversation_of(*args)

    monkeypatch.setattr(f"{module}.conversation_of", recording)
    named = "input" if path == "/v1/responses" else "messages"
    for count in (1, 1000):
        body = {"model": MODEL, named: [USER] * count}
        if path == "/v1/messages":
            body["max_tokens"] = 1
        await Harness().post(path, **body)
    assert threads == [True, False]


@pytest.mark.parametrize("size", [1, SMALL_BODY, SMALL_BODY + 1, 2 * MB])
async def test_large_bodies_are_worked_on_elsewhere_as_if_it_were_here(size: int) -> None:
    def work(text: str) -> tuple[str, str, bool]:
        if text == "wrong":
            raise ValueError(text)
        return text, request_id.get(), threading.current_thread() is threading.main_thread()

    token = request_id.set("req_mine")
    assert await off_loop(size, work, "a") == ("a", "req_mine", size <= SMALL_BODY)
    with pytest.raises(ValueError, match="wrong"):
        await off_loop(size, work, "wrong")
    request_id.reset(token)


async def test_bodies_of_some_pages_do_not_wait_for_those_of_megabytes() -> None:
    gate = threading.Event()
    large = asyncio.create_task(off_loop(2 * MB, gate.wait))
    assert await off_loop(SMALL_BODY + 1, lambda: 5) == 5
    assert not large.done()
    gate.set()
    assert await large
