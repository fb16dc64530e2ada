"""POST /v1/completions: prompts of every form, one or many, streamed or not."""

import json
from typing import Any

import pytest
from openai.types import Completion

from server.protocol.messages import Generate
from tests.api.harness import COMPLETIONS, MODEL, Harness, events
from tests.fake_text import FakeTokenizer

pytestmark = pytest.mark.anyio

IDS = FakeTokenizer().encode


def shout(request: Generate) -> list[str]:
    """The prompt in capitals, a token a character, and the seed."""
    return [
        *FakeTokenizer().decode(request.task.prompt_ids).upper(),
        f" {request.task.params.seed}",
    ]


async def test_a_whole_answer_has_openais_shape() -> None:
    api = Harness()
    response = await api.post(COMPLETIONS, model=MODEL, prompt="ab")
    assert response.status_code == 200
    body = response.json()
    Completion.model_validate(body, strict=True)
    assert body.pop("id").startswith("cmpl-")
    assert isinstance(body.pop("created"), int)
    assert body == {
        "object": "text_completion",
        "model": MODEL,
        "system_fingerprint": "fp_test",
        "choices": [
            {"text": "Hello, wörld", "index": 0, "logprobs": None, "finish_reason": "stop"}
        ],
        "usage": {
            "prompt_tokens": 2,
            "completion_tokens": 3,
            "total_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


@pytest.mark.parametrize(
    ("prompt", "reached"),
    [
        ("ab", [IDS("ab")]),
        (["ab", "c"], [IDS("ab"), IDS("c")]),
        ([0, 256], [[0, 256]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
        ("é" * 20_000, [IDS("é" * 20_000)]),  # encoded in a thread
    ],
)
async def test_every_form_of_prompt(prompt: Any, reached: list[list[int]]) -> None:
    api = Harness()
    response = await api.post(COMPLETIONS, prompt=prompt)
    assert response.status_code == 200
    assert [request.task.prompt_ids for request in api.worker.generated] == reached
    assert len(response.json()["choices"]) == len(reached)
    assert response.json()["usage"]["prompt_tokens"] == sum(map(len, reached))


async def test_defaults_are_openais() -> None:
    api = Harness()
    await api.post(COMPLETIONS, prompt="a")
    params = api.worker.generated[0].task.params
    assert params.max_tokens == 16
    assert params.stop == ()  # the template's stop strings are for chat


async def test_choices_are_ordered_by_prompt_then_number() -> None:
    api = Harness(script=shout)
    response = await api.post(COMPLETIONS, prompt=["ab", "c"], n=2, best_of=2, seed=5)
    choices = response.json()["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3]
    assert [choice["text"] for choice in choices] == ["AB 5", "AB 6", "C 5", "C 6"]


async def test_prompts_without_a_seed_get_different_ones() -> None:
    api = Harness()
    await api.post(COMPLETIONS, prompt=["a", "a", "a"])
    assert len({request.task.params.seed for request in api.worker.generated}) == 3


@pytest.mark.parametrize("include_usage", [False, True])
async def test_a_stream_interleaves_prompts_and_choices(include_usage: bool) -> None:
    api = Harness(script=shout)
    response = await api.post(
        COMPLETIONS,
        prompt=["ab", "cde"],
        n=2,
        seed=5,
        stream=True,
        stream_options={"include_usage": include_usage},
    )
    *data, done = events(response.text)
    assert done == "[DONE]"
    chunks = [json.loads(each) for each in data]
    assert len({(chunk["id"], chunk["created"], chunk["object"]) for chunk in chunks}) == 1
    if include_usage:
        last = chunks.pop()
        assert last["choices"] == []
        assert last["usage"]["prompt_tokens"] == 5
        assert last["usage"]["completion_tokens"] == 3 + 3 + 4 + 4
    texts, order, finished = [""] * 4, [], []
    for chunk in chunks:
        assert chunk["object"] == "text_completion"
        assert chunk.get("usage", "absent") == (None if include_usage else "absent")
        (choice,) = chunk["choices"]
        assert choice["index"] not in finished
        texts[choice["index"]] += choice["text"]
        order.append(choice["index"])
        if choice["finish_reason"]:
            finished.append(choice["index"])
    assert texts == ["AB 5", "AB 6", "CDE 5", "CDE 6"]
    assert sorted(finished) == [0, 1, 2, 3]
    assert order != sorted(order)  # nobody waits until another has finished


async def test_stop_may_be_one_string() -> None:
    api = Harness()
    await api.post(COMPLETIONS, prompt="a", stop="END")
    await api.post(COMPLETIONS, prompt="a", stop=["END", "\n", "END"])
    assert [request.task.params.stop for request in api.worker.generated] == [
        ("END",),
        ("END", "\n"),
    ]
