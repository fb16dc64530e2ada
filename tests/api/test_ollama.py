"""/api with Ollama's official client, and what of it only other clients see."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import ollama
import pytest
from ollama import AsyncClient

from server.protocol.messages import Generate
from server.tokenizer.tool_messages import call_text
from tests.api.harness import MODEL, Harness, serving
from tests.api.scoring_worker import scoring
from tests.fake_text import FakeTokenizer

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "Weather in Rome?"}]
ROME = '{"city": "Rome"}'
TIMES = ("total_duration", "prompt_eval_duration", "eval_duration", "created_at")


def weather(city: str) -> str:
    """Tell the weather.

    Args:
        city: where
    """
    return f"dry in {city}"


def pieces(text: str) -> Callable[[Generate], list[str]]:
    return lambda _: [text[at : at + 4] for at in range(0, len(text), 4)]


@asynccontextmanager
async def client(api: Harness) -> AsyncIterator[AsyncClient]:
    async with serving(api.app) as url:
        yield AsyncClient(host=url)


def read(api: Harness) -> str:
    """What the worker was given last."""
    return bytes(i - 1 for i in api.worker.generated[-1].task.prompt_ids).decode()


async def test_a_chat() -> None:
    api = Harness()
    async with client(api) as sdk:
        answer = await sdk.chat(model=f"{MODEL}:latest", messages=HELLO)
    assert (answer.message.role, answer.message.content) == ("assistant", "Hello, wörld")
    assert (answer.done, answer.done_reason, answer.eval_count) == (True, "stop", 3)
    assert answer.prompt_eval_count == len(api.worker.generated[0].task.prompt_ids)
    assert all(getattr(answer, name) > 0 for name in TIMES if name != "created_at")


async def test_a_stream_is_lines_that_add_up_to_the_answer() -> None:
    text = f">Hm.</think>\nA moment.\n{call_text('weather', ROME)}"
    api = Harness({"model": {"reasoning": "on"}}, script=pieces(text))
    asked: dict[str, Any] = {"model": MODEL, "messages": HELLO, "tools": [weather]}
    async with client(api) as sdk:
        whole = await sdk.chat(**asked)
        parts = [part async for part in await sdk.chat(**asked, stream=True)]
    assert whole.message.thinking == "Hm."
    assert whole.message.content == "A moment."
    assert whole.message.tool_calls is not None
    (call,) = whole.message.tool_calls
    assert (call.function.name, call.function.arguments) == ("weather", {"city": "Rome"})
    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert "".join(part.message.thinking or "" for part in parts) == whole.message.thinking
    assert [c for part in parts for c in part.message.tool_calls or ()] == [call]
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].eval_count == whole.eval_count


async def test_lines_are_json_with_their_own_type() -> None:
    api = Harness()
    response = await api.post("/api/generate", model=MODEL, prompt="hi")
    assert response.headers["content-type"] == "application/x-ndjson"
    *lines, rest = response.text.split("\n")
    assert rest == ""
    assert "".join(json.loads(line)["response"] for line in lines) == "Hello, wörld"


async def test_calls_and_results_are_read() -> None:
    api = Harness()
    calls = [{"function": {"name": "weather", "arguments": {"city": "Rom"}}}]
    messages = [
        *HELLO,
        {"role": "assistant", "content": "", "tool_calls": calls, "thinking": "Hm."},
        {"role": "tool", "content": "dry", "tool_name": "weather"},
    ]
    async with client(api) as sdk:
        await sdk.chat(model=MODEL, messages=messages, tools=[weather])
    said = max(api.template.rendered, key=len)
    assert [message["role"] for message in said] == ["user", "assistant", "tool"]
    assert said[1]["tool_calls"][0]["function"]["name"] == "weather"
    assert said[2]["content"] == "dry"


async def test_a_prompt_with_a_system_message_and_a_raw_one() -> None:
    api = Harness()
    async with client(api) as sdk:
        answer = await sdk.generate(model=MODEL, prompt="hi", system="Be kind.")
        assert "system: Be kind." in read(api)
        raw = await sdk.generate(model=MODEL, prompt="Once", raw=True)
    assert read(api) == "Once"
    assert answer.response == raw.response == "Hello, wörld"


async def test_options_are_those_of_the_sampler() -> None:
    api = Harness()
    options = {
        "temperature": 0.5,
        "top_k": 7,
        "repeat_penalty": 1.25,
        "mirostat": 2,
        "seed": 3,
        "stop": ["x"],
        "num_predict": 2,
        "num_ctx": 2048,
    }
    async with client(api) as sdk:
        answer = await sdk.chat(model=MODEL, messages=HELLO, options=options)
        await sdk.chat(model=MODEL, messages=HELLO, options={"num_predict": -1})
        await sdk.chat(model=MODEL, messages=HELLO, options={"num_predict": 0})
    first, *others = (each.task.params for each in api.worker.generated)
    assert (first.temperature, first.top_k, first.repetition_penalty) == (0.5, 7, 1.25)
    assert (first.mirostat, first.seed, first.max_tokens) == (2, 3, 2)
    assert "x" in first.stop
    assert answer.done_reason == "length"
    assert {each.max_tokens for each in others} == {api.settings.limits.max_output_tokens}


@pytest.mark.parametrize("form", ["json", {"type": "object", "properties": {}}])
async def test_a_form_is_a_grammar(form: Any) -> None:
    api = Harness(script=lambda _: ["{}"])
    async with client(api) as sdk:
        await sdk.generate(model=MODEL, prompt="hi", format=form)
    assert "json_schema" in api.worker.generated[-1].task.params.grammar


async def test_log_probabilities() -> None:
    api = scoring(lambda _: FakeTokenizer().encode("ab"))
    async with client(api) as sdk:
        whole = await sdk.chat(
            model=MODEL, messages=HELLO, logprobs=True, top_logprobs=2, options={"seed": 1}
        )
        stream = await sdk.chat(
            model=MODEL,
            messages=HELLO,
            logprobs=True,
            top_logprobs=2,
            stream=True,
            options={"seed": 1},
        )
        parts = [each async for part in stream for each in part.logprobs or ()]
        raw = await sdk.generate(model=MODEL, prompt="x", raw=True, logprobs=True)
    assert whole.logprobs is not None
    assert [each.token for each in whole.logprobs] == ["a", "b"]
    assert parts == list(whole.logprobs)
    assert raw.logprobs is not None
    assert [each.token for each in raw.logprobs] == ["a", "b"]


async def test_embeddings() -> None:
    api = Harness()
    async with client(api) as sdk:
        several = await sdk.embed(model=MODEL, input=["a", "b"])
        one = await sdk.embeddings(model=MODEL, prompt="a")
    assert len(several.embeddings) == 2
    assert one.embedding == several.embeddings[0]
    assert several.prompt_eval_count == 2


async def test_models() -> None:
    api = Harness()
    async with client(api) as sdk:
        (listed,), (running,) = (await sdk.list()).models, (await sdk.ps()).models
        shown = await sdk.show(MODEL)
    assert listed.model == running.name == MODEL
    assert listed.details == running.details == shown.details
    assert shown.capabilities is not None
    assert "completion" in shown.capabilities
    assert (await api.http().get("/api/version")).json()["version"]


@pytest.mark.parametrize(
    ("path", "body", "status", "word"),
    [
        ("chat", {"model": "other", "messages": HELLO}, 404, "other"),
        ("chat", {"messages": [{"role": "user", "content": "x", "images": ["a"]}]}, 400, "images"),
        ("chat", {"messages": HELLO, "options": {"mirostat": 1}}, 400, "options.mirostat:"),
        ("chat", {"messages": HELLO, "options": {"stop": ["a", ""]}}, 400, "options.stop.1:"),
        ("chat", {"messages": HELLO, "options": {"num_predict": -3}}, 400, "options.num_pre"),
        ("chat", {"messages": HELLO, "options": {"repeat_penalty": 0}}, 400, "options.repeat_"),
        ("chat", {"messages": HELLO, "format": {"type": "number", "not": {}}}, 400, "format: "),
        ("generate", {"prompt": "x", "raw": True, "format": {"enum": []}}, 400, "format: "),
        ("generate", {"prompt": "x", "format": "xml"}, 400, "format: "),
        ("generate", {"prompt": "x", "suffix": "y"}, 400, "suffix"),
        ("generate", {"prompt": "x", "context": [1]}, 400, "context"),
        ("generate", {"prompt": "x", "template": "y"}, 400, "template"),
        ("generate", {"prompt": "x", "state_id": "state_1"}, 400, "state_id"),
        ("embed", {"input": ["a", ""]}, 400, "input"),
        ("chat", {"messages": HELLO, "temperature": 0}, 400, "temperature"),
        ("generate", {"prompt": "x", "repeat_penalty": 1.5}, 400, "repeat_penalty"),
        ("pull", {"model": "x"}, 404, "rwkv-server pull"),
        ("nothing", {}, 404, "/api/nothing"),
    ],
)
async def test_errors_are_one_string(
    path: str, body: dict[str, Any], status: int, word: str
) -> None:
    response = await Harness().post(f"/api/{path}", **body)
    assert response.status_code == status
    (error,) = response.json().values()
    assert word in error


async def test_a_failure_in_the_stream_is_an_error_of_the_client() -> None:
    api = Harness(finish="error", error="out of luck")
    async with client(api) as sdk:
        with pytest.raises(ollama.ResponseError, match="out of luck"):
            [part async for part in await sdk.chat(model=MODEL, messages=HELLO, stream=True)]


@pytest.mark.parametrize(("keep_alive", "reason"), [(None, "load"), (0, "unload")])
async def test_who_asks_for_nothing_gets_nothing(keep_alive: Any, reason: str) -> None:
    api = Harness()
    async with client(api) as sdk:
        answer = await sdk.generate(model=MODEL, prompt="", keep_alive=keep_alive)
    assert (answer.response, answer.done_reason) == ("", reason)
    assert not api.worker.generated


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", ""])
async def test_bodies_are_json_whatever_their_type_unless_a_web_page_sends_them(kind: str) -> None:
    body = json.dumps({"prompt": "hi", "stream": False})
    async with Harness().http() as http:
        headers = {"content-type": kind} if kind else {}
        answer = await http.post("/api/generate", content=body, headers=headers)
        assert answer.json()["response"] == "Hello, wörld"
        headers["origin"] = "http://elsewhere"
        assert (await http.post("/api/generate", content=body, headers=headers)).status_code == 403


@pytest.mark.parametrize("body", [{}, {"input": ""}, {"input": []}, {"input": None}])
async def test_embeddings_of_nothing_are_nothing(body: dict[str, Any]) -> None:
    api = Harness()
    answer = (await api.post("/api/embed", model=MODEL, **body)).json()
    assert (answer["model"], answer["embeddings"]) == (MODEL, [])
    assert (await api.post("/api/embeddings", model=MODEL, prompt="")).json() == {"embedding": []}
    assert (await api.post("/api/embed", model="other", **body)).status_code == 404
    assert not api.worker.generated


@pytest.mark.parametrize(
    ("wanted", "given"), [(5, 5), (10**9, 100), (100.0, 100), (0, 100), (-1, 100), (-2, 100)]
)
@pytest.mark.parametrize("body", [("chat", {"messages": HELLO}), ("generate", {"prompt": "x"})])
async def test_no_more_tokens_are_predicted_than_the_server_lets_anybody_have(
    body: tuple[str, dict[str, Any]], wanted: float, given: int
) -> None:
    api = Harness({"limits": {"max_output_tokens": 100}})
    fields = body[1] | {"options": {"num_predict": wanted}, "stream": False}
    assert (await api.post(f"/api/{body[0]}", **fields)).status_code == 200
    assert api.worker.generated[0].task.params.max_tokens == given


async def test_options_may_be_all_that_chats_know() -> None:
    api = Harness()
    options = {"repeat_last_n": 64, "repeat_penalty": 1.1, "top_n_sigma": 1.5, "num_ctx": 4096}
    options |= {"dry_multiplier": 0.8, "bad_words": ["x"], "min_new_tokens": 2, "num_gpu": 1}
    body = {"messages": HELLO, "options": options, "stream": False}
    assert (await api.post("/api/chat", **body)).status_code == 200
    params = api.worker.generated[0].task.params
    assert (params.penalty_last_n, params.repetition_penalty, params.top_n_sigma) == (64, 1.1, 1.5)
    assert (params.dry_multiplier, params.bad_words, params.min_tokens) == (0.8, ("x",), 2)


async def test_probes_may_ask_for_the_head_alone() -> None:
    async with serving(Harness().app) as url, httpx.AsyncClient(base_url=url) as http:
        for path in ("/api/tags", "/api/version", "/api/ps", "/v1/models"):
            head, whole = await http.head(path), await http.get(path)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["content-length"] == whole.headers["content-length"]
