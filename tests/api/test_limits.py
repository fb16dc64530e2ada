"""Limits of keys and of the server over HTTP: refusals, headers, deadlines, releases."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from server.access.admission import Admission
from tests.access.keys_files import write_keys
from tests.api.harness import CHAT, COMPLETIONS, MODEL, Harness, assert_error, events, serving
from tests.fakes import PATIENCE

pytestmark = pytest.mark.anyio

HELLO: Any = [{"role": "user", "content": "hi"}]
BODIES: list[tuple[str, dict[str, Any]]] = [
    (path, {"prompt": "abcd", "messages": HELLO, "stream": stream})
    for path in (CHAT, COMPLETIONS)
    for stream in (False, True)
]


class Keyed:
    """A server, the key of alice, and what is admitted."""

    def __init__(self, folder: Path, alice: dict[str, Any], sections: Any = None, **worker: Any):
        path = folder / "keys.toml"
        self.key = write_keys(path, {"alice": alice, "bob": {}})["alice"]
        self.api = Harness({"http": {"keys_file": str(path)}} | (sections or {}), **worker)
        self.worker = self.api.worker

    def http(self) -> httpx.AsyncClient:
        return self.api.http(self.key)


def admission_of(api: Harness) -> Admission:
    """The one of the app, which its middleware has."""
    (found,) = (
        layer.kwargs["admission"]
        for layer in api.app.user_middleware
        if "admission" in layer.kwargs
    )
    assert isinstance(found, Admission)
    return found


def assert_nothing_is_held(api: Harness) -> None:
    total = admission_of(api).total
    assert (total.requests, total.waiting, total.queued_tokens) == (0, 0, 0)


@pytest.mark.parametrize(("path", "body"), BODIES)
async def test_every_answer_has_the_rate_limits(
    tmp_path: Path, path: str, body: dict[str, Any]
) -> None:
    limits = {"requests_per_minute": 2, "tokens_per_minute": 600}
    server = Keyed(tmp_path, limits)
    async with server.http() as http:
        answers = [await http.post(path, json=body) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    for number, answer in enumerate(answers):
        headers = answer.headers
        assert headers["x-ratelimit-limit-requests"] == "2"
        assert headers["x-ratelimit-remaining-requests"] == str(max(0, 1 - number))
        assert headers["x-ratelimit-limit-tokens"] == "600"
        assert 500 < int(headers["x-ratelimit-remaining-tokens"]) < 600
        for unit in ("requests", "tokens"):
            assert re.fullmatch(r"(\d+m)?\d+s|\d+ms", headers[f"x-ratelimit-reset-{unit}"])
    error = assert_error(answers[2], 429, "rate_limit_exceeded")
    assert "2 requests a minute" in error["message"]
    assert 1 <= int(answers[2].headers["retry-after"]) <= 30
    assert len(server.worker.generated) == 2


async def test_only_the_limits_that_a_key_has_are_told(tmp_path: Path) -> None:
    server = Keyed(tmp_path, {"tokens_per_minute": 600})
    async with server.http() as http:
        answer = await http.post(COMPLETIONS, json={"prompt": "abcd"})
        assert "x-ratelimit-limit-tokens" in answer.headers
        assert "x-ratelimit-limit-requests" not in answer.headers
        listed = await http.get("/v1/models")
    assert "x-ratelimit-limit-tokens" not in listed.headers


async def test_answers_are_charged_as_they_come(tmp_path: Path) -> None:
    server = Keyed(tmp_path, {"tokens_per_minute": 100}, script=lambda _: ["x"] * 200)
    async with server.http() as http:
        body = {"prompt": "abcd", "max_tokens": 200}
        assert (await http.post(COMPLETIONS, json=body)).status_code == 200
        refused = await http.post(COMPLETIONS, json=body)
    assert_error(refused, 429, "rate_limit_exceeded")
    # A debt of 104 and the prompt's 4, at 100 a minute.
    assert 60 < int(refused.headers["retry-after"]) <= 65


async def test_a_request_that_found_no_worker_costs_nothing(tmp_path: Path) -> None:
    server = Keyed(tmp_path, {"requests_per_minute": 1})
    server.worker.client.close("starting")
    async with server.http() as http:
        for _ in range(3):
            assert_error(await http.post(COMPLETIONS, json={"prompt": "a"}), 503, "loading")
        assert_nothing_is_held(server.api)
        server.worker.client.open()
        assert (await http.post(COMPLETIONS, json={"prompt": "a"})).status_code == 200


@pytest.mark.parametrize(
    ("limits", "fits", "second"),
    [
        ({"max_requests": 2}, {"prompt": "a", "n": 2}, {"prompt": "a"}),
        ({"max_queued_tokens": 10}, {"prompt": "a" * 8, "n": 2}, {"prompt": ["b", "cc"]}),
    ],
)
@pytest.mark.parametrize("of_key", [False, True])
async def test_a_full_queue_of_the_key_or_of_all(
    tmp_path: Path, limits: dict[str, int], fits: Any, second: Any, of_key: bool
) -> None:
    alice, sections = (limits, None) if of_key else ({}, {"limits": limits})
    server = Keyed(tmp_path, alice, sections, hold_after=0)
    async with server.http() as http:
        first = asyncio.create_task(http.post(COMPLETIONS, json=fits))
        await server.worker.until(lambda: len(server.worker.generated) == 2)
        refused = await http.post(COMPLETIONS, json=second)
        error = assert_error(refused, 429, "queue_full")
        assert ("this key" if of_key else "the server") in error["message"]
        assert refused.headers["retry-after"] == "5"
        server.worker.release()
        assert (await first).status_code == 200
        assert (await http.post(COMPLETIONS, json=second)).status_code == 200
    assert_nothing_is_held(server.api)


async def test_more_choices_than_can_ever_be_held(tmp_path: Path) -> None:
    server = Keyed(tmp_path, {"max_requests": 2})
    async with server.http() as http:
        refused = await http.post(CHAT, json={"messages": HELLO, "n": 3})
    assert assert_error(refused, 400, "invalid_value")["param"] == "n"


async def test_a_keys_own_limits_of_tokens_take_the_place_of_the_servers(tmp_path: Path) -> None:
    sections = {"limits": {"max_prompt_tokens": 5, "max_output_tokens": 5}}
    server = Keyed(tmp_path, {"max_prompt_tokens": 10, "max_output_tokens": 2}, sections)
    async with server.http() as http:
        fits = {"prompt": "a" * 10, "max_tokens": 2}
        assert (await http.post(COMPLETIONS, json=fits)).status_code == 200
        long = await http.post(COMPLETIONS, json=fits | {"prompt": "a" * 11})
        assert "at most 10 tokens" in assert_error(long, 400, "context_length_exceeded")["message"]
        more = await http.post(COMPLETIONS, json=fits | {"max_tokens": 3})
        assert "limit of 2" in assert_error(more, 400, "invalid_value")["message"]
    assert server.api.settings.limits.max_output_tokens == 5


@pytest.mark.parametrize(("path", "body"), BODIES)
@pytest.mark.parametrize(
    ("limits", "hold_after", "status", "code"),
    [
        ({"queue_seconds": 0.02}, 0, 503, "queue_timeout"),
        ({"total_seconds": 0.02}, 0, 504, "deadline_exceeded"),
        ({"total_seconds": 0.6, "queue_seconds": 0.3}, 1, 504, "deadline_exceeded"),
    ],
)
async def test_a_deadline_ends_a_request(
    path: str, body: dict[str, Any], limits: Any, hold_after: int, status: int, code: str
) -> None:
    api = Harness({"limits": limits}, hold_after=hold_after)
    async with asyncio.timeout(PATIENCE):
        response = await api.post(path, **body, n=2)
    if body["stream"] and hold_after:
        assert response.status_code == 200
        assert f'"code":"{code}"' in events(response.text)[-1]
    else:
        assert_error(response, status, code)
        assert ("retry-after" in response.headers) == (code == "queue_timeout")
        assert ("x-should-retry" in response.headers) == (code == "deadline_exceeded")
    assert len(api.worker.aborted) == 2
    assert_nothing_is_held(api)


async def test_a_deadline_after_a_ping_is_an_event() -> None:
    sections = {"limits": {"queue_seconds": 0.05}, "http": {"ping_seconds": 0.01}}
    api = Harness(sections, hold_after=0)
    response = await api.post(COMPLETIONS, prompt="a", stream=True)
    assert response.status_code == 200
    assert response.text.startswith(": ping\n\n")
    assert '"code":"queue_timeout"' in events(response.text)[-1]
    assert_nothing_is_held(api)


async def test_a_request_in_time_ends_as_ever() -> None:
    api = Harness({"limits": {"queue_seconds": 60, "total_seconds": 60}})
    for path, body in BODIES:
        assert (await api.post(path, **body)).status_code == 200


@pytest.mark.parametrize(("path", "body"), BODIES)
@pytest.mark.parametrize("way", ["finish", "error", "cancel", "bug", "leave"])
@pytest.mark.parametrize("hold_after", [0, 1])
async def test_everything_is_released_however_a_request_ends(
    path: str, body: dict[str, Any], way: str, hold_after: int
) -> None:
    api = Harness(hold_after=hold_after)
    total = admission_of(api).total
    async with serving(api.app) as url, httpx.AsyncClient() as http:
        request = asyncio.create_task(http.post(url + path, json=body | {"n": 2}))
        await api.worker.until(lambda: api.worker.pieces_sent == 2 * hold_after)
        await api.worker.until(lambda: len(api.worker.generated) == 2)
        assert total.requests == 2
        if way == "finish":
            api.worker.release()
        elif way == "error":
            api.client.deliver(api.worker.link, [api.worker.failure(0)])
        elif way == "bug":
            api.worker.send_nonsense()
            api.worker.release()
        elif way == "leave":
            request.cancel()
        else:
            api.client.fail_all("the server is shutting down")
        with contextlib.suppress(asyncio.CancelledError):
            await request
        async with asyncio.timeout(PATIENCE):
            while total.requests:
                await asyncio.sleep(0)
    assert_nothing_is_held(api)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[Keyed, str]]:
    """On a socket: alice has one request at a time."""
    server = Keyed(tmp_path, {"max_requests": 1})
    async with serving(server.api.app) as url:
        yield server, f"{url}/v1"


async def test_the_sdk_without_a_right_key(served: tuple[Keyed, str]) -> None:
    async with AsyncOpenAI(base_url=served[1], api_key="wrong") as sdk:
        with pytest.raises(openai.AuthenticationError) as caught:
            await sdk.chat.completions.create(model=MODEL, messages=HELLO)
    assert caught.value.code == "invalid_api_key"
    assert caught.value.request_id is not None
    assert served[0].worker.generated == []


async def test_the_sdk_is_refused_an_operators_routes(served: tuple[Keyed, str]) -> None:
    async with AsyncOpenAI(base_url=served[1], api_key=served[0].key) as sdk:
        with pytest.raises(openai.PermissionDeniedError):
            await sdk.get("/cache", cast_to=object)


async def test_the_sdk_tries_again_when_the_queue_was_full(
    served: tuple[Keyed, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, url = served
    server.worker.hold_after = 0
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        # What the SDK would sleep; meanwhile the other request ends.
        waits.append(seconds)
        server.worker.release()
        await other

    async with AsyncOpenAI(base_url=url, api_key=server.key, max_retries=2) as sdk:
        once = sdk.with_options(max_retries=0)
        other = asyncio.create_task(once.completions.create(model=MODEL, prompt="a"))
        await server.worker.until(lambda: len(server.worker.generated) == 1)
        with pytest.raises(openai.RateLimitError) as caught:
            await once.completions.create(model=MODEL, prompt="b")
        assert caught.value.code == "queue_full"
        monkeypatch.setattr(openai._base_client.anyio, "sleep", wait)
        answer = await sdk.completions.create(model=MODEL, prompt="b")
    assert answer.choices[0].text == "Hello, wörld"
    assert waits == [5]
