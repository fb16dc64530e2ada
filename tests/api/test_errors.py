"""Every error has OpenAI's shape, the right status and code, and names the field."""

import asyncio
import json
from typing import Any

import pytest
from msgspec.structs import replace

from server.api.errors import ERRORS
from server.protocol.task import Task
from server.sampling.params import SamplingParams
from tests.api.harness import CHAT, COMPLETIONS, MODEL, Harness, assert_error

pytestmark = pytest.mark.anyio

LIMITS = {"max_output_tokens": 100, "max_prompt_tokens": 30, "max_choices": 4}
HELLO = [{"role": "user", "content": "hi"}]
INFINITE = float("inf")

# What is refused by both endpoints: (fields, code, param).
REFUSED_BY_BOTH: list[tuple[dict[str, Any], str, str]] = [
    ({"model": "other"}, "model_not_found", "model"),
    ({"model": "\ud800"}, "model_not_found", "model"),
    ({"model": 3}, "invalid_value", "model"),
    ({"max_tokens": -2}, "invalid_value", "max_tokens"),
    ({"max_tokens": 1.5}, "invalid_value", "max_tokens"),
    ({"n_predict": 101}, "invalid_value", "n_predict"),
    ({"repeat_penalty": 0}, "invalid_value", "repeat_penalty"),
    ({"repeat_penalty": 1.5, "repetition_penalty": 1.2}, "invalid_value", "repeat_penalty"),
    ({"bad_words": [""]}, "invalid_value", "bad_words.0"),
    ({"bad_words": ["é" * 65]}, "invalid_value", "bad_words.0"),
    ({"bad_words": ["a"] * 65}, "invalid_value", "bad_words"),
    ({"top_n_sigma": -1.5}, "invalid_value", "top_n_sigma"),
    ({"penalty_last_n": -2}, "invalid_value", "penalty_last_n"),
    ({"stream_options": {}, "stream": False}, "invalid_value", "stream_options"),
    ({"max_tokens": 101}, "invalid_value", "max_tokens"),
    ({"max_tokens": True}, "invalid_value", "max_tokens"),
    ({"max_tokens": "16"}, "invalid_value", "max_tokens"),
    ({"max_tokens": 10**4000}, "invalid_value", "max_tokens"),
    ({"temperature": -0.1}, "invalid_value", "temperature"),
    ({"temperature": 11}, "invalid_value", "temperature"),
    ({"temperature": "hot"}, "invalid_value", "temperature"),
    ({"temperature": True}, "invalid_value", "temperature"),
    ({"temperature": float("nan")}, "invalid_value", "temperature"),
    ({"temperature": 10**400}, "invalid_value", "temperature"),
    ({"top_p": -0.1}, "invalid_value", "top_p"),
    ({"top_p": 1.01}, "invalid_value", "top_p"),
    ({"top_k": -2}, "invalid_value", "top_k"),
    ({"top_k": 1.5}, "invalid_value", "top_k"),
    ({"presence_penalty": 2.1}, "invalid_value", "presence_penalty"),
    ({"frequency_penalty": -INFINITE}, "invalid_value", "frequency_penalty"),
    ({"repetition_penalty": 0}, "invalid_value", "repetition_penalty"),
    ({"penalty_decay": 1.5}, "invalid_value", "penalty_decay"),
    ({"seed": 1.5}, "invalid_value", "seed"),
    ({"stop": ["a", ""]}, "invalid_value", "stop.1"),
    ({"stop": ["a"] * 17}, "invalid_value", "stop"),
    ({"stop": {"a": 1}}, "invalid_value", "stop"),
    ({"stop": "\ud800"}, "invalid_value", "stop"),
    ({"stop_token_ids": [257]}, "invalid_value", "stop_token_ids"),
    ({"stop_token_ids": [-1]}, "invalid_value", "stop_token_ids.0"),
    ({"stop_token_ids": [True]}, "invalid_value", "stop_token_ids.0"),
    ({"ignore_eos": 1}, "invalid_value", "ignore_eos"),
    ({"stream": "yes"}, "invalid_value", "stream"),
    ({"n": 0}, "invalid_value", "n"),
    ({"n": 5}, "invalid_value", "n"),
    ({"n": 10**4299}, "invalid_value", "n"),
    ({"n": 2, "best_of": 1}, "invalid_value", "best_of"),
    ({"best_of": 2, "stream": True}, "invalid_value", "best_of"),
    ({"best_of": 6, "stream": False}, "invalid_value", "best_of"),
    ({"best_of": 2, "save_state": True, "stream": False}, "invalid_value", "save_state"),
    ({"prompt_logprobs": 0}, "unsupported_parameter", "prompt_logprobs"),
    ({"prompt_logprobs": 1}, "unsupported_parameter", "prompt_logprobs"),
    ({"return_token_ids": True}, "unsupported_parameter", "return_token_ids"),
    ({"response_format": "json"}, "invalid_value", "response_format"),
]

REFUSED_COMPLETIONS: list[tuple[dict[str, Any], str, str]] = [
    ({"prompt": None, "messages": HELLO}, "unsupported_parameter", "messages"),
    ({"prompt": None, "input": "a"}, "unsupported_parameter", "input"),
    ({"prompt": [1, "a"]}, "invalid_value", "prompt"),
    ({"prompt": [[1], "a"]}, "invalid_value", "prompt"),
    ({"prompt": [True]}, "invalid_value", "prompt"),
    ({"prompt": [1.5]}, "invalid_value", "prompt"),
    ({"prompt": {"text": "a"}}, "invalid_value", "prompt"),
    ({"prompt": 5}, "invalid_value", "prompt"),
    ({"prompt": [257]}, "invalid_value", "prompt"),
    ({"prompt": [[1], [-1]]}, "invalid_value", "prompt"),
    ({"prompt": [10**100]}, "invalid_value", "prompt"),
    ({"prompt": "\ud800"}, "invalid_value", "prompt"),
    ({"prompt": "a" * 31}, "context_length_exceeded", "prompt"),
    ({"prompt": [[1], [1] * 31]}, "context_length_exceeded", "prompt"),
    ({"prompt": ["a"] * 3, "n": 2}, "invalid_value", "n"),
    ({"logprobs": 21}, "invalid_value", "logprobs"),
    ({"logprobs": -1}, "invalid_value", "logprobs"),
    ({"logprobs": True}, "invalid_value", "logprobs"),
    ({"echo": 1}, "invalid_value", "echo"),
    ({"suffix": "z"}, "unsupported_parameter", "suffix"),
]

IMAGE = {"type": "image_url", "image_url": {"url": "data:"}}
REFUSED_CHAT: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": None}, "missing_required_parameter", "messages"),
    ({"messages": []}, "invalid_value", "messages"),
    ({"messages": "hi"}, "invalid_value", "messages"),
    ({"messages": ["hi"]}, "invalid_value", "messages.0"),
    ({"messages": [{"content": "hi"}]}, "missing_required_parameter", "messages.0.role"),
    ({"messages": [{"role": "king", "content": "hi"}]}, "invalid_value", "messages.0.role"),
    ({"messages": [*HELLO, {"role": "user"}]}, "invalid_value", "messages.1"),
    ({"messages": [{"role": "user", "content": 3}]}, "invalid_value", "messages.0.content"),
    ({"messages": [{"role": "user", "content": ["a"]}]}, "invalid_value", "messages.0.content"),
    (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]},
        "invalid_value",
        "messages.0.content",
    ),
    (
        {"messages": [{"role": "user", "content": [IMAGE]}]},
        "unsupported_content",
        "messages.0.content",
    ),
    (
        {"messages": [{"role": "user", "content": "\udfff"}]},
        "invalid_value",
        "messages.0.content",
    ),
    ({"messages": [{"role": "user", "content": "a" * 30}]}, "context_length_exceeded", "messages"),
    ({"max_completion_tokens": 0}, "invalid_value", "max_completion_tokens"),
    ({"max_completion_tokens": 101}, "invalid_value", "max_completion_tokens"),
    ({"max_tokens": 0}, "invalid_value", "max_tokens"),
    ({"logprobs": 1}, "invalid_value", "logprobs"),
    ({"top_logprobs": 3}, "invalid_value", "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "invalid_value", "top_logprobs"),
    ({"functions": [{"name": "f"}]}, "unsupported_parameter", "functions"),
    ({"audio": {"voice": "v"}}, "unsupported_parameter", "audio"),
]

CASES = [
    *((COMPLETIONS, {"prompt": "a", "max_tokens": 1} | fields, *want) for fields, *want in
      REFUSED_BY_BOTH + REFUSED_COMPLETIONS),
    *((CHAT, {"messages": HELLO, "max_tokens": 1} | fields, *want) for fields, *want in
      REFUSED_BY_BOTH + REFUSED_CHAT),
]  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("path", "body", "code", "param"), CASES)
async def test_refused_fields(
    path: str, body: dict[str, Any], code: str, param: str, stream: bool
) -> None:
    api = Harness({"limits": LIMITS})
    content = json.dumps({"stream": stream} | body).encode()
    error = assert_error(await api.post_bytes(path, content), ERRORS[code].status, code)
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert param.split(".")[0] in error["message"]
    assert api.worker.generated == []


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "invalid_value"),
        (b"{", "invalid_json"),
        (b'{"prompt": "a",}', "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "invalid_json"),
        (b'{"max_tokens": 1' + b"0" * 5_000 + b"}", "invalid_json"),
        (b'{"prompt": "\xff\xfe"}', "invalid_json"),
        (b"[]", "invalid_value"),
        (b'"text"', "invalid_value"),
        (b"null", "invalid_value"),
        (b"NaN", "invalid_value"),
    ],
)
async def test_bodies_that_are_no_json_object(path: str, content: bytes, code: str) -> None:
    error = assert_error(await Harness().post_bytes(path, content), 400, code)
    assert error["param"] is None


async def test_a_form_is_told_to_be_json() -> None:
    async with Harness().http() as http:
        response = await http.post(CHAT, data={"messages": "hi"})
    assert "application/json" in assert_error(response, 400, "invalid_value")["message"]


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1", CHAT + "/x", "/docs", "/v1/a%0Ab"])
async def test_unknown_urls(path: str) -> None:
    async with Harness().http() as http:
        assert_error(await http.get(path), 404, "unknown_url")


@pytest.mark.parametrize(("method", "path"), [("GET", CHAT), ("POST", "/health"), ("PUT", "/")])
async def test_wrong_methods(method: str, path: str) -> None:
    async with Harness().http() as http:
        response = await http.request(method, path)
    assert_error(response, 405, "method_not_allowed")
    assert response.headers["allow"] == ("POST" if path == CHAT else "GET")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_full_queue(stream: bool) -> None:
    api = Harness({"limits": {"max_requests": 2}}, hold_after=0)
    with api.manager.lease(MODEL) as route:
        other = route.submit(Task([1], SamplingParams(max_tokens=1, seed=1)))
    response = await api.post(CHAT, messages=HELLO, n=2, stream=stream)
    assert assert_error(response, 429, "queue_full")["type"] == "rate_limit_error"
    assert response.headers["retry-after"] == "1"
    # The choice that found room was given up with the one that did not.
    assert api.worker.aborted == [api.worker.generated[1].request_id]
    other.abort()
    assert api.client.active_requests == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_while_the_model_loads(stream: bool) -> None:
    api = Harness()
    api.client.close("compiling")
    response = await api.post(CHAT, messages=HELLO, stream=stream)
    assert "compiling" in assert_error(response, 503, "loading")["message"]
    assert response.headers["retry-after"] == "2"
    assert "x-should-retry" not in response.headers


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("finish", ["error", "abort"])
async def test_an_engine_that_fails_before_any_output(stream: bool, finish: str) -> None:
    api = Harness(script=lambda _: [], finish=finish, error="worker 0 died")
    response = await api.post(CHAT, messages=HELLO, stream=stream)
    error = assert_error(response, 500, "engine_error")
    assert "worker 0 died" in error["message"]
    assert "x-should-retry" not in response.headers  # another worker may do better


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_that_kills_workers_is_not_to_be_sent_again(stream: bool) -> None:
    api = Harness(hold_after=0)

    async def kill_two() -> None:
        for sendings in (1, 2):
            await api.worker.until(lambda n=sendings: len(api.worker.generated) == n)
            api.client.lose(api.worker.link)
            api.client.add(api.worker.link)

    response, _ = await asyncio.gather(api.post(CHAT, messages=HELLO, stream=stream), kill_two())
    assert_error(response, 500, "poison_request")
    assert response.headers["x-should-retry"] == "false"


async def test_one_failed_choice_aborts_the_others() -> None:
    api = Harness(hold_after=0)

    async def fail_one() -> None:
        await api.worker.until(lambda: len(api.worker.generated) == 2)
        api.client.deliver(api.worker.link, [api.worker.failure(0)])

    response, _ = await asyncio.gather(api.post(CHAT, messages=HELLO, n=2), fail_one())
    assert_error(response, 500, "engine_error")
    assert api.worker.aborted == [api.worker.generated[1].request_id]


async def test_a_grammar_that_fails_is_not_the_engines_fault() -> None:
    api = Harness(hold_after=0)

    async def fail() -> None:
        await api.worker.until(lambda: len(api.worker.generated) == 1)
        failure = replace(api.worker.failure(0), error="grammar: no", error_code="grammar_error")
        api.client.deliver(api.worker.link, [failure])

    response, _ = await asyncio.gather(api.post(CHAT, messages=HELLO), fail())
    assert assert_error(response, 400, "grammar_error")["message"] == "grammar: no"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_bug_leaks_nothing(stream: bool, caplog: pytest.LogCaptureFixture) -> None:
    api = Harness(template_error=ZeroDivisionError("secret"))
    response = await api.post(CHAT, messages=HELLO, stream=stream)
    error = assert_error(response, 500, "internal_error")
    assert error["type"] == "server_error"
    assert response.headers["x-should-retry"] == "false"
    assert "secret" not in response.text
    assert "ZeroDivisionError: secret" in caplog.text


def test_the_table_is_what_clients_may_meet() -> None:
    for kind in ERRORS.values():
        assert 400 <= kind.status < 600
        # The SDK decides by the status, except that a permanent 5xx must say so.
        assert not kind.permanent or kind.status >= 500
