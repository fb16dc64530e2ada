"""Who only asks for tokens is admitted and charged as anybody, and gets so much at most."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from server.api.routes import tokens as route
from tests.api.harness import MODEL, Harness, assert_error
from tests.api.test_limits import Keyed, admission_of, assert_nothing_is_held

pytestmark = pytest.mark.anyio

HI = [{"role": "user", "content": "Hi"}]
TEN = "x" * 10
ASKS: list[tuple[str, dict[str, Any], int]] = [
    ("/tokenize", {"prompt": TEN}, 10),
    ("/v1/tokenize", {"content": TEN, "with_pieces": True}, 10),
    ("/tokenize", {"messages": HI}, len("user: Hi\n\nassistant:")),
    ("/detokenize", {"tokens": [98] * 10}, 10),
    ("/apply-template", {"messages": HI}, len("user: Hi\n\nassistant:")),
    ("/v1/messages/count_tokens", {"model": MODEL, "messages": HI}, len("user: Hi\n\nassistant:")),
    ("/v1/responses/input_tokens", {"input": "Hi"}, len("user: Hi\n\nassistant:")),
]
every_ask = pytest.mark.parametrize(("path", "body", "tokens"), ASKS)


def error_code(response: Any) -> str:
    """Anthropic's shape has a type alone."""
    error = response.json()["error"]
    return error.get("code") or error["type"]


@every_ask
async def test_requests_a_minute(
    tmp_path: Path, path: str, body: dict[str, Any], tokens: int
) -> None:
    server = Keyed(tmp_path, {"requests_per_minute": 1, "tokens_per_minute": 1000})
    admission_of(server.api).clock = lambda: 0.0  # nothing comes back while the machine is busy
    async with server.http() as http:
        first, second = [await http.post(path, json=body) for _ in range(2)]
    assert first.status_code == 200, first.text
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    assert int(first.headers["x-ratelimit-remaining-tokens"]) == 1000 - tokens
    assert second.status_code == 429
    assert error_code(second) in ("rate_limit_exceeded", "rate_limit_error")
    assert int(second.headers["retry-after"]) > 0
    assert_nothing_is_held(server.api)


@pytest.mark.parametrize(("path", "body", "tokens"), ASKS)
async def test_tokens_a_minute(
    tmp_path: Path, path: str, body: dict[str, Any], tokens: int
) -> None:
    limits = {"requests_per_minute": 100, "tokens_per_minute": tokens + 5}
    server = Keyed(tmp_path, limits)
    async with server.http() as http:
        first, second = [await http.post(path, json=body) for _ in range(2)]
    assert (first.status_code, second.status_code) == (200, 429)
    # What was refused costs nothing.
    assert second.headers["x-ratelimit-remaining-requests"] == "99"
    assert_nothing_is_held(server.api)


@pytest.mark.parametrize(("path", "body"), [each[:2] for each in ASKS])
async def test_requests_at_once(tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    server = Keyed(tmp_path, {}, {"limits": {"max_requests": 1}}, hold_after=0)
    async with server.http() as http:
        stream = {"prompt": "a", "stream": True, "max_tokens": 1}
        running = asyncio.create_task(http.post("/v1/completions", json=stream))
        await server.worker.until(lambda: len(server.worker.generated) == 1)
        refused = await http.post(path, json=body)
        server.worker.release()
        await running
        assert refused.status_code == 429, refused.text
        assert error_code(refused) in ("queue_full", "rate_limit_error")
        assert (await http.post(path, json=body)).status_code == 200
    assert_nothing_is_held(server.api)


async def test_a_request_that_is_wrong_holds_nothing() -> None:
    api = Harness()
    assert_error(await api.post("/detokenize", tokens=[9999]), 400, "invalid_value")
    assert_nothing_is_held(api)


@pytest.mark.parametrize("extra", [{"with_pieces": True}, {"return_token_strs": True}])
async def test_texts_of_tokens_are_bounded(
    monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any]
) -> None:
    monkeypatch.setattr(route, "MOST_TOKEN_TEXTS", 5)
    monkeypatch.setattr(route, "MOST_TOKENS", 8)
    api = Harness()
    assert (await api.post("/tokenize", prompt="x" * 5, **extra)).status_code == 200
    for text in ("x" * 6, "x" * 3 + "<end>" * 3):
        response = await api.post("/tokenize", content=text, parse_special=True, **extra)
        error = assert_error(response, 400, "invalid_value")
        assert error["param"] == "content"
        assert "at most 5 tokens with with_pieces or return_token_strs" in error["message"]
    assert (await api.post("/tokenize", prompt="x" * 8)).status_code == 200
    error = assert_error(await api.post("/tokenize", prompt="x" * 9), 400, "invalid_value")
    assert error["message"].startswith("prompt: must have at most 8 tokens (got more)")


async def test_the_text_of_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route, "MOST_TEXT_BYTES", 5)
    api = Harness()
    assert (await api.post("/detokenize", tokens=[98] * 5)).json()["content"] == "aaaaa"
    error = assert_error(await api.post("/detokenize", tokens=[98] * 6), 400, "invalid_value")
    assert "at most 5 bytes of text" in error["message"]
