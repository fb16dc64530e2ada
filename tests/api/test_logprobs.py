"""Log-probabilities, echo and best_of, in the forms of both endpoints, streamed or not."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from server.api.logprobs import LogprobEntry, LogprobText, token_text, top_by_text
from server.protocol.outputs import merged
from server.protocol.task import Task
from server.sampling.params import SamplingParams
from server.sampling.token_logprobs import TokenLogprobs
from tests.api.harness import CHAT, COMPLETIONS, Harness, assert_error, events
from tests.api.scoring_worker import logprobs_of, outputs_of, scoring
from tests.fake_text import FakeTokenizer

pytestmark = pytest.mark.anyio

TOKENIZER = FakeTokenizer()
IDS = TOKENIZER.encode
SNOW = IDS("é雪")  # of two bytes and of three
MESSAGES = [{"role": "user", "content": "hi"}]
BYTES = [r"bytes:\xc3", r"bytes:\xa9", r"bytes:\xe9", r"bytes:\x9b", r"bytes:\xaa"]


def say(text: str) -> Harness:
    return scoring(lambda _: IDS(text))


async def ask(api: Harness, path: str = COMPLETIONS, **body: Any) -> dict[str, Any]:
    body = {"messages": MESSAGES} | body if path == CHAT else body
    response = await api.post(path, **body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    if path == CHAT:
        ChatCompletion.model_validate(answer)
    elif not body.get("echo"):  # the SDK's types know nothing of null for a prompt's first token
        Completion.model_validate(answer)
    return answer


async def streamed(api: Harness, path: str = COMPLETIONS, **body: Any) -> list[dict[str, Any]]:
    """The choices of a stream, each put together from its chunks."""
    body = {"messages": MESSAGES} | body if path == CHAT else body
    response = await api.post(path, stream=True, **body)
    *data, done = events(response.text)
    assert done == "[DONE]", done
    found: dict[int, dict[str, Any]] = {}
    for line in data:
        chunk = json.loads(line)
        if path == CHAT:
            ChatCompletionChunk.model_validate(chunk)
        (choice,) = chunk["choices"]
        whole = found.setdefault(choice["index"], {"text": "", "logprobs": {}})
        whole["text"] += choice.get("text", choice.get("delta", {}).get("content")) or ""
        for name, items in (choice["logprobs"] or {}).items():
            if items is not None:
                whole["logprobs"].setdefault(name, []).extend(items)
    return [found[index] for index in sorted(found)]


async def test_completions_have_parallel_lists_with_the_token_among_the_top() -> None:
    answer = await ask(say("aé"), prompt="x", logprobs=2)
    (choice,) = answer["choices"]
    # The token that ended the text has its place, too: evaluation harnesses count on it.
    tokens = [*IDS("aé"), 0]
    scores = [logprobs_of(token, place, 2, seed=0) for place, token in enumerate(tokens)]
    assert choice["text"] == "aé"
    logprobs = choice["logprobs"]
    assert logprobs["tokens"] == ["a", r"bytes:\xc3", r"bytes:\xa9", "<|endoftext|>"]
    assert logprobs["text_offset"] == [0, 1, 1, 2]
    for place, top in enumerate(logprobs["top_logprobs"]):
        own, token = logprobs["token_logprobs"][place], logprobs["tokens"][place]
        assert top[token] == own
        assert len(top) == (2 if place % 3 == 0 else 3)
        assert len(scores[place].top_ids) == 2


async def test_zero_top_logprobs_leave_the_token_alone() -> None:
    (choice,) = (await ask(say("ab"), prompt="x", logprobs=0))["choices"]
    logprobs = choice["logprobs"]
    assert [list(top) for top in logprobs["top_logprobs"]] == [["a"], ["b"], ["<|endoftext|>"]]
    for body in ({}, {"logprobs": None}, {"logprobs": False}):
        (choice,) = (await ask(say("ab"), prompt="x", **body))["choices"]
        assert choice["logprobs"] is None


@pytest.mark.parametrize("top", [0, 3, 20])
async def test_chat_has_a_list_of_tokens_with_their_bytes(top: int) -> None:
    body = {"logprobs": True, "top_logprobs": top, "seed": 0}
    (choice,) = (await ask(say(" hé"), CHAT, **body))["choices"]
    assert choice["message"]["content"] == "hé"
    content = choice["logprobs"]["content"]
    assert choice["logprobs"]["refusal"] is None
    # As shown: without the space before the first word and the end of the document.
    assert [each["token"] for each in content] == ["h", *BYTES[:2]]
    assert [each["bytes"] for each in content] == [[104], [0xC3], [0xA9]]
    for place, each in enumerate(content, 1):
        expected = logprobs_of(IDS(" hé")[place], place, top)
        assert each["logprob"] == expected.logprob
        assert [other["logprob"] for other in each["top_logprobs"]] == expected.top_logprobs
        texts = [token_text(token, TOKENIZER) for token in expected.top_ids]
        assert [other["token"] for other in each["top_logprobs"]] == texts
    (choice,) = (await ask(say("a"), CHAT, logprobs=False, top_logprobs=0))["choices"]
    assert choice["logprobs"] is None


@pytest.mark.parametrize("stop", [[], ["雪b"], ["b", "雪c"], [" x"]])
@pytest.mark.parametrize(
    "body",
    [
        {"prompt": "q", "logprobs": 1},
        {"prompt": ["qé", "r"], "logprobs": 2, "n": 2, "echo": True, "seed": 4},
        {"prompt": [[5, 6], [7]], "echo": True, "max_tokens": 0, "logprobs": 1},
        {"prompt": "q", "echo": True},
        {"prompt": [[0, 0]], "echo": True, "logprobs": 0},  # a prompt without text
        {"logprobs": True, "top_logprobs": 2, "n": 2, "seed": 1},
    ],
)
async def test_a_stream_says_the_same_as_the_whole_answer(
    body: dict[str, Any], stop: list[str]
) -> None:
    api = say("  aé雪雪b x.")
    path = COMPLETIONS if "prompt" in body else CHAT
    body = {"stop": stop, "seed": 1} | body
    whole = (await ask(api, path, **body))["choices"]
    pieces = await streamed(api, path, **body)
    assert len(pieces) == len(whole)
    for piece, choice in zip(pieces, whole, strict=True):
        text = choice["text"] if path == COMPLETIONS else choice["message"]["content"]
        assert piece["text"] == text
        logprobs = choice["logprobs"] or {}
        assert piece["logprobs"] == {k: v for k, v in logprobs.items() if k != "refusal"}


async def test_tokens_of_a_stop_string_go_with_it() -> None:
    (choice,) = (await ask(say("abcdef"), prompt="x", logprobs=1, stop="cde"))["choices"]
    assert choice["text"] == "ab"
    assert choice["logprobs"]["tokens"] == ["a", "b"]
    (choice,) = (await ask(say("abc"), prompt="x", logprobs=1, stop="cde"))["choices"]
    assert choice["logprobs"]["tokens"] == ["a", "b", "c", "<|endoftext|>"]
    body = {"stop_token_ids": IDS("b"), "logprobs": 1}
    (choice,) = (await ask(say("abc"), prompt="x", **body))["choices"]
    assert (choice["text"], choice["logprobs"]["tokens"]) == ("a", ["a", "b"])
    assert choice["logprobs"]["text_offset"] == [0, 1]


async def test_text_that_is_held_back_brings_its_logprobs_when_it_is_let_out() -> None:
    response = await say("a雪cd").post(COMPLETIONS, prompt="x", logprobs=0, stop="cdx", stream=True)
    *data, _ = events(response.text)
    choices = [json.loads(line)["choices"][0] for line in data]
    assert [(choice["text"], choice["logprobs"]["tokens"]) for choice in choices] == [
        ("a", ["a"]),
        ("雪", BYTES[2:]),
        ("cd", ["c", "d", "<|endoftext|>"]),
    ]


texts = st.lists(st.sampled_from([*SNOW, *IDS("ab "), 0]) | st.integers(0, 256), max_size=14)


@given(
    tokens=texts,
    stop=st.lists(st.text("abé雪 �", min_size=1, max_size=3), max_size=2),
    max_tokens=st.integers(1, 14),
    ignore_eos=st.booleans(),
    cuts=st.lists(st.integers(0, 14), max_size=4),
)
@settings(max_examples=300, deadline=None)
def test_entries_are_the_tokens_of_the_text_however_outputs_are_merged(
    tokens: list[int], stop: list[str], max_tokens: int, ignore_eos: bool, cuts: list[int]
) -> None:
    params = SamplingParams(
        max_tokens=max_tokens, seed=0, stop=tuple(stop), ignore_eos=ignore_eos, logprobs=1
    )
    outputs = outputs_of(Task([1], params), tokens + [1] * 20)
    text = "".join(output.text for output in outputs)
    made = [token for output in outputs for token in output.token_ids]
    places = sorted({0, *(cut % len(outputs) for cut in cuts)})
    pieces = [
        merged(outputs[first:last])
        for first, last in zip(places, [*places[1:], len(outputs)], strict=True)
    ]
    aligned = LogprobText(TOKENIZER, params)
    shown, entries = 0, []
    for output in pieces:
        shown += len(output.text)
        entries += aligned.push(output)
        assert all(entry.offset < shown for entry in entries[:-1] if not output.finish_reason)
    once = LogprobText(TOKENIZER, params).push(merged(outputs))
    assert entries == once
    assert [entry.token_id for entry in entries] == made[: len(entries)]
    assert [entry.logprobs for entry in entries] == [
        logprobs_of(token, place, 1) for place, token in enumerate(made[: len(entries)])
    ]
    decoded = TOKENIZER.decode(entry.token_id for entry in entries if not entry.is_stop)
    assert decoded.startswith(text) or text.startswith(decoded.rstrip("�"))
    if len(entries) < len(made):  # the rest was cut away with a stop string
        assert stop
        assert all(entry.offset < len(text) for entry in entries)


@pytest.mark.parametrize("echo", [True, False])
async def test_echo_begins_text_and_logprobs_with_the_prompt(echo: bool) -> None:
    api = say("xy")
    body = {"prompt": [IDS("é!"), IDS("abc")], "n": 2, "echo": echo, "logprobs": 1}
    answer = await ask(api, **body)
    prompts = ["é!", "é!", "abc", "abc"]
    assert answer["usage"]["prompt_tokens"] == 6
    for choice, prompt in zip(answer["choices"], prompts, strict=True):
        before = prompt if echo else ""
        logprobs = choice["logprobs"]
        assert choice["text"] == before + "xy"
        assert len(logprobs["tokens"]) == len(before.encode()) + 3
        assert logprobs["text_offset"][-3:] == [len(before) + place for place in range(3)]
        assert all(len(each) == len(logprobs["tokens"]) for each in logprobs.values())
        if echo:
            assert (logprobs["token_logprobs"][0], logprobs["top_logprobs"][0]) == (None, None)
            assert None not in logprobs["token_logprobs"][1:]
    first = answer["choices"][0]["logprobs"]
    if echo:
        assert first["tokens"][:3] == [*BYTES[:2], "!"]
        assert first["text_offset"][:3] == [0, 0, 1]


@pytest.mark.parametrize("n", [1, 3])
async def test_the_first_chunk_of_a_stream_has_all_of_a_long_prompt(n: int) -> None:
    body = {"prompt": [IDS("é" * 3000), IDS("x")], "n": n, "echo": True, "logprobs": 1, "seed": 1}
    whole = (await ask(say("y"), **body))["choices"]
    assert await streamed(say("y"), **body) == [
        {"text": choice["text"], "logprobs": choice["logprobs"]} for choice in whole
    ]
    response = await say("y").post(COMPLETIONS, stream=True, **body)
    firsts: dict[int, dict[str, Any]] = {}
    for line in events(response.text)[:-1]:
        (choice,) = json.loads(line)["choices"]
        firsts.setdefault(choice["index"], choice)
    for index, choice in firsts.items():
        tokens = 6000 if index < n else 1
        assert len(choice["logprobs"]["tokens"]) > tokens  # and the first of the answer
        assert choice["text"] == ("é" * 3000 if index < n else "x") + "y"


async def test_what_follows_a_broken_character_begins_after_it() -> None:
    api = scoring(lambda _: [*IDS("a"), SNOW[0], *IDS("bc")])
    body = {"prompt": [[*IDS("a"), SNOW[0], *IDS("bc")]], "echo": True, "logprobs": 0}
    choice = (await ask(api, **body))["choices"][0]
    assert choice["text"] == "a�bca�bc"
    assert choice["logprobs"]["text_offset"][:8] == [0, 1, 2, 3, 4, 5, 6, 7]


async def test_scoring_a_prompt_generates_nothing() -> None:
    api = say("xyz")
    body = {"prompt": [IDS("abc"), IDS("d")], "max_tokens": 0, "echo": True, "logprobs": 1}
    answer = await ask(api, **body)
    assert answer["usage"]["completion_tokens"] == 0
    assert [choice["text"] for choice in answer["choices"]] == ["abc", "d"]
    assert [choice["finish_reason"] for choice in answer["choices"]] == ["length"] * 2
    lists = [choice["logprobs"] for choice in answer["choices"]]
    assert [each["tokens"] for each in lists] == [["a", "b", "c"], ["d"]]
    assert lists[1]["token_logprobs"] == [None]
    (choice,) = (await ask(api, prompt="a", max_tokens=0))["choices"]
    assert (choice["text"], choice["logprobs"]) == ("", None)


async def test_best_of_returns_the_best_of_what_it_generates() -> None:
    # The seed decides what is generated, and how likely it is: 0, 3 and then 2 are best.
    api = scoring(lambda task: IDS("abcdefgh"[task.params.seed] * 3))

    async def texts(**body: Any) -> list[str]:
        answer = await ask(api, prompt=["x", "y"], seed=0, **body)
        assert answer["usage"]["completion_tokens"] == 2 * 4 * body["best_of"]
        assert [choice["index"] for choice in answer["choices"]] == list(range(2 * body["n"]))
        assert all(choice["logprobs"] is None for choice in answer["choices"])
        return [choice["text"] for choice in answer["choices"]]

    assert await texts(n=2, best_of=4) == ["aaa", "ddd", "aaa", "ddd"]
    assert await texts(n=3, best_of=4) == ["aaa", "ddd", "ccc"] * 2
    assert await texts(n=4, best_of=4) == ["aaa", "bbb", "ccc", "ddd"] * 2
    answer = await ask(api, CHAT, best_of=3, seed=1, logprobs=True)
    assert [choice["message"]["content"] for choice in answer["choices"]] == ["ddd"]
    assert len(answer["choices"][0]["logprobs"]["content"]) == 3


async def test_tokens_of_the_same_bytes_have_keys_of_their_own() -> None:
    class Twofold(FakeTokenizer):
        def token_bytes(self, token_id: int) -> bytes:
            return b"a" if token_id in (200, 201) else super().token_bytes(token_id)

    entry = LogprobEntry(200, TokenLogprobs(-2.0, [98, 200, 201], [-1.0, -2.0, -3.0]), 0)
    top = top_by_text(entry, Twofold())
    assert top == {"token_id:98": -1.0, "a": -2.0, "token_id:201": -3.0}


async def test_more_logprobs_than_can_be_kept_are_refused() -> None:
    api = say("a")
    body = {"prompt": [1] * 500, "echo": True, "logprobs": 20, "n": 4, "max_tokens": 20_000}
    error = assert_error(await api.post(COMPLETIONS, **body), 400, "invalid_value")
    assert error["param"] == "logprobs"
    assert str(4 * 21 * 20_500) in error["message"]
    body |= {"prompt": [1] * 1000, "max_tokens": 0}
    error = assert_error(await api.post(COMPLETIONS, **body), 400, "invalid_value")
    assert "at most 65536 in all for tokens of prompts (got 84000)" in error["message"]
    assert api.worker.generated == []
