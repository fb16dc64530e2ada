"""POST /v1/chat/completions: what reaches the worker, and what comes back."""

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from server.protocol.messages import Generate
from server.tokenizer.base import TokenizerError
from tests.api.harness import CHAT, MODEL, Harness, assert_error, events
from tests.fake_text import FakeTokenizer

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "hi"}]


def by_seed(request: Generate) -> list[str]:
    """Another text for each seed, of another length."""
    seed = request.task.params.seed
    return ["choice", " of", " seed", f" {seed}"] + ["!"] * seed


async def test_a_whole_answer_has_openais_shape() -> None:
    api = Harness()
    response = await api.post(CHAT, model=MODEL, messages=HELLO)
    assert response.status_code == 200
    body = response.json()
    assert body.pop("id").startswith("chatcmpl-")
    assert isinstance(body.pop("created"), int)
    prompt_tokens = len("user: hi\n\nassistant:")
    assert body == {
        "object": "chat.completion",
        "model": MODEL,
        "system_fingerprint": "fp_test",
        "service_tier": "default",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello, wörld", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": 3,
            "total_tokens": prompt_tokens + 3,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }
    ChatCompletion.model_validate(response.json(), strict=True)


async def test_the_prompt_is_the_rendered_template() -> None:
    api = Harness()
    await api.post(CHAT, messages=[{"role": "system", "content": "be brief"}, *HELLO])
    text = FakeTokenizer().decode(api.worker.generated[0].task.prompt_ids)
    assert text == "system: be brief\n\nuser: hi\n\nassistant:"


async def test_a_long_conversation_is_encoded_just_the_same() -> None:
    api = Harness()
    await api.post(CHAT, messages=[{"role": "user", "content": "é" * 20_000}])
    text = FakeTokenizer().decode(api.worker.generated[0].task.prompt_ids)
    assert text == "user: " + "é" * 20_000 + "\n\nassistant:"


async def test_all_sampling_fields_reach_the_worker() -> None:
    api = Harness()
    fields: dict[str, Any] = {
        "temperature": 0,
        "top_p": 0.5,
        "top_k": 7,
        "presence_penalty": -1,
        "frequency_penalty": 0.25,
        "repetition_penalty": 1.5,
        "penalty_decay": 0.996,
        "seed": -1,
        "stop_token_ids": [3, 4],
        "ignore_eos": True,
        "max_completion_tokens": 9,
    }
    # max_completion_tokens wins over the older name.
    response = await api.post(CHAT, messages=HELLO, stop="END", max_tokens=5, **fields)
    assert response.status_code == 200
    params = api.worker.generated[0].task.params
    assert params.max_tokens == fields.pop("max_completion_tokens")
    assert params.seed == 2**64 - 1 == fields.pop("seed") % 2**64
    assert params.stop == ("\n\nuser:", "END")
    assert params.stop_token_ids == tuple(fields.pop("stop_token_ids"))
    assert {name: getattr(params, name) for name in fields} == fields


async def test_null_and_absent_fields_take_the_defaults() -> None:
    defaults = {"temperature": 0.7, "top_p": 0.4}
    api = Harness({"limits": {"default_output_tokens": 77}, "sampling": defaults})
    names = ["max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "n", "stop"]
    names += ["presence_penalty", "seed", "stream", "stream_options", "logprobs", "tools", "model"]
    await api.post(CHAT, messages=HELLO, **dict.fromkeys(names))
    await api.post(CHAT, messages=HELLO)
    first, second = (request.task.params for request in api.worker.generated)
    assert first.max_tokens == second.max_tokens == 77
    assert (first.temperature, first.top_p, first.top_k) == (0.7, 0.4, 0)
    assert first.stop == ("\n\nuser:",)
    assert first.seed != second.seed  # random without a seed


async def test_the_default_length_obeys_the_cap() -> None:
    api = Harness({"limits": {"default_output_tokens": 100, "max_output_tokens": 50}})
    response = await api.post(CHAT, messages=HELLO)
    assert response.status_code == 200
    assert api.worker.generated[0].task.params.max_tokens == 50


@pytest.mark.parametrize("top_k", [-1, 0, 10**30])
async def test_top_k_means_all_when_off_or_huge(top_k: int) -> None:
    api = Harness()
    assert (await api.post(CHAT, messages=HELLO, top_k=top_k)).status_code == 200
    assert api.worker.generated[0].task.params.top_k in (0, FakeTokenizer.vocab_size)


async def test_what_means_nothing_here_is_ignored() -> None:
    api = Harness()
    response = await api.post(
        CHAT,
        messages=[{"role": "user", "content": "hi", "weather": "fine"}],
        store=True,
        metadata={"a": 1},
        user="u",
        service_tier="flex",
        prediction={"type": "content", "content": "x"},
        modalities=["text"],
        parallel_tool_calls=False,
        reasoning_effort="low",
        response_format={"type": "text"},
        tools=[{"type": "function", "function": {"name": "f"}}],
        tool_choice="none",
        functions=[],
        logit_bias={},
        min_p=0.0,
        typical_p=1,
        mirostat=0,
        logprobs=False,
        top_logprobs=0,
        audio=None,
        best_of=1,
        stream=True,
        stream_options={"include_usage": True, "include_obfuscation": False},
        no_such_field=[None],
    )
    assert response.status_code == 200


async def test_messages_of_every_role_and_shape() -> None:
    api = Harness()
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    messages: list[dict[str, Any]] = [
        {"role": "developer", "content": "d"},
        {
            "role": "system",
            "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        },
        {"role": "user", "content": "u", "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "1", "tool_call_id": "c1"},
        {"role": "function", "name": "f", "content": "2"},
        {"role": "assistant", "content": []},
    ]
    response = await api.post(CHAT, messages=messages)
    assert response.status_code == 200, response.text
    rendered = api.template.rendered[0]
    assert [message["content"] for message in rendered] == ["d", "a\nb", "u", "", "1", "2", ""]
    assert rendered[2] == messages[2]
    (shown,) = rendered[3]["tool_calls"]  # with an object, which templates turn to JSON
    assert shown == call | {"function": {"name": "f", "arguments": {"x": 1}}}
    assert rendered[4] == messages[4] | {"name": "f"}


async def test_choices_have_their_own_seeds_and_texts() -> None:
    api = Harness(script=by_seed)
    response = await api.post(CHAT, messages=HELLO, n=3, seed=0, max_tokens=6)
    choices = response.json()["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2]
    assert [choice["message"]["content"] for choice in choices] == [
        "choice of seed 0",
        "choice of seed 1!",
        "choice of seed 2!!",
    ]
    usage = response.json()["usage"]
    assert usage["completion_tokens"] == 4 + 5 + 6
    assert usage["prompt_tokens"] == len("user: hi\n\nassistant:")  # once, not three times


async def test_finish_reason_length() -> None:
    response = await Harness().post(CHAT, messages=HELLO, max_tokens=2)
    assert response.json()["choices"][0]["finish_reason"] == "length"
    assert response.json()["choices"][0]["message"]["content"] == "Hello, "


async def test_seeds_wrap_around() -> None:
    api = Harness()
    await api.post(CHAT, messages=HELLO, n=2, seed=2**64 - 1)
    assert [request.task.params.seed for request in api.worker.generated] == [2**64 - 1, 0]


@pytest.mark.parametrize("include_usage", [False, True])
async def test_a_stream_has_openais_chunks(include_usage: bool) -> None:
    api = Harness()
    options = {"include_usage": include_usage}
    response = await api.post(CHAT, messages=HELLO, stream=True, stream_options=options)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"
    assert "content-length" not in response.headers
    *data, done = events(response.text)
    assert done == "[DONE]"
    chunks = [json.loads(each) for each in data]
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk, strict=True)
        assert chunk["object"] == "chat.completion.chunk"
        assert chunk["model"] == MODEL
        assert ("usage" in chunk) == include_usage
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    if include_usage:
        last = chunks.pop()
        assert last["choices"] == []
        assert last["usage"]["completion_tokens"] == 3
        assert last["usage"]["total_tokens"] == last["usage"]["prompt_tokens"] + 3
        assert all(chunk["usage"] is None for chunk in chunks)
    choices = [chunk["choices"][0] for chunk in chunks]
    assert choices[0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert all(set(choice["delta"]) == {"content"} for choice in choices[1:-1])
    assert "".join(choice["delta"]["content"] for choice in choices[:-1]) == "Hello, wörld"
    assert choices[-1]["delta"] == {}
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["stop"]


async def test_streamed_choices_interleave_with_the_right_index() -> None:
    api = Harness(script=by_seed)
    response = await api.post(CHAT, messages=HELLO, n=3, seed=1, stream=True)
    texts, roles, finished = ["", "", ""], [0, 0, 0], []
    for data in events(response.text)[:-1]:
        (choice,) = json.loads(data)["choices"]
        assert choice["index"] not in finished
        texts[choice["index"]] += choice["delta"].get("content", "")
        roles[choice["index"]] += "role" in choice["delta"]
        if choice["finish_reason"]:
            finished.append(choice["index"])
    assert texts == ["choice of seed 1!", "choice of seed 2!!", "choice of seed 3!!!"]
    assert roles == [1, 1, 1]
    assert sorted(finished) == [0, 1, 2]


async def test_a_conversation_that_the_template_refuses() -> None:
    api = Harness(template_error=TokenizerError("roles must alternate"))
    error = assert_error(await api.post(CHAT, messages=HELLO), 400, "invalid_value")
    assert error["param"] == "messages"
    assert error["message"] == "roles must alternate"


async def test_the_space_before_the_first_word_is_not_part_of_the_answer() -> None:
    def script(_: Generate) -> list[str]:
        return [" ", "\n Hello", " you ", ""]

    api = Harness(script=script)
    body = {"messages": [{"role": "user", "content": "hi"}]}
    whole = (await api.post(CHAT, **body)).json()["choices"][0]["message"]["content"]
    stream = await api.post(CHAT, **body, stream=True)
    deltas = [json.loads(data)["choices"][0]["delta"] for data in events(stream.text)[:-1]]
    assert whole == "".join(delta.get("content", "") for delta in deltas) == "Hello you "
