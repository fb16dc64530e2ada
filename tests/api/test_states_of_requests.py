"""Requests that go on from a named state (`state_id`) or leave one (`save_state`)."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from server.api.saving import ids_of_text
from tests.api.harness import CHAT, COMPLETIONS, Harness, assert_error, events, serving
from tests.api.states_harness import HELLO, IDS, STATES, StatesHarness
from tests.api.test_disconnects import open_request
from tests.fake_text import FakeTokenizer
from tests.fakes import CODEC, fake_state

pytestmark = pytest.mark.anyio


@pytest.fixture
async def api(tmp_path: Path) -> StatesHarness:
    """A server's parts."""
    return StatesHarness(tmp_path)


async def test_prompts_go_on_from_a_state(api: StatesHarness) -> None:
    state = await api.create(prompt="ab")
    for prompt, reached in (("cd", [IDS("cd")]), ("", [[]]), ([], [[]]), ([[5], []], [[5], []])):
        body = {"prompt": prompt, "state_id": state["id"]}
        answer = await api.ask("POST", COMPLETIONS, json=body)
        tasks = [each.task for each in api.worker.generated[-len(reached) :]]
        assert [task.prompt_ids for task in tasks] == reached
        assert {task.base for task in tasks} == {fake_state(IDS("ab"))}
        assert answer["usage"]["prompt_tokens"] == sum(map(len, reached))


async def test_messages_go_on_with_the_conversation(api: StatesHarness) -> None:
    state = await api.create(messages=HELLO)
    await api.ask("POST", CHAT, json={"messages": HELLO, "state_id": state["id"]})
    task = api.worker.generated[-1].task
    assert FakeTokenizer().decode(task.prompt_ids) == "\n\nuser: hi\n\nassistant:"
    assert task.base == fake_state(IDS("user: hi"))


async def test_an_empty_prompt_needs_logits(api: StatesHarness) -> None:
    stored = CODEC.decode(fake_state(IDS("ab"))).snapshot
    data = CODEC.encode(type(stored)(stored.tokens, stored.state))
    state = await api.ask("POST", f"{STATES}/import", content=data)
    body = {"prompt": "", "state_id": state["id"]}
    error = assert_error(await api.call("POST", COMPLETIONS, json=body), 400, "invalid_value")
    assert error["param"] == "prompt"
    await api.ask("POST", COMPLETIONS, json=body | {"prompt": "a"})


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("include_usage", [False, True])
async def test_the_state_after_an_answer(tmp_path: Path, stream: bool, include_usage: bool) -> None:
    api = StatesHarness(tmp_path)
    base = await api.create(prompt="ab")
    body = {"prompt": "cd", "state_id": base["id"], "save_state": True, "stream": stream}
    if stream:
        body["stream_options"] = {"include_usage": include_usage}
    response = await api.call("POST", COMPLETIONS, json=body)
    if stream:
        *_, last, done = events(response.text)
        assert done == "[DONE]"
        answer = json.loads(last)
        assert answer["choices"] == []
        assert ("usage" in answer) == include_usage
    else:
        answer = response.json()
    saved = await api.ask("GET", f"{STATES}/{answer['state_id']}")
    # The fake worker's ids do not spell its text, which the state is to stand for.
    assert await api.export(saved["id"]) == fake_state(IDS("abcdHello, wörld"))
    assert saved["tokens"] == len(IDS("abcdHello, wörld"))
    if not stream or include_usage:
        assert answer["usage"]["completion_tokens"] == 3
    assert api.client.active_requests == 0


async def test_an_answer_that_was_cut_goes_on_with_its_very_tokens(api: StatesHarness) -> None:
    body = {"prompt": "ab", "max_tokens": 2, "save_state": True}
    answer = await api.ask("POST", COMPLETIONS, json=body)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert await api.export(answer["state_id"]) == fake_state([*IDS("ab"), 0, 1])


async def test_the_next_turn_of_a_chat_needs_only_its_message(tmp_path: Path) -> None:
    api = StatesHarness(tmp_path, script=lambda _: [" Hello", " you"])
    messages: list[dict[str, str]] = []
    fields: dict[str, Any] = {}
    for turn in range(3):
        message = {"role": "user", "content": f"turn {turn}"}
        body = {"messages": [message], "save_state": True, **fields}
        answer = await api.ask("POST", CHAT, json=body)
        content = answer["choices"][0]["message"]["content"]
        messages += [message, {"role": "assistant", "content": content}]
        whole = api.template.render(messages, add_generation_prompt=False)
        assert await api.export(answer["state_id"]) == fake_state(IDS(whole))
        fields = {"state_id": answer["state_id"]}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (COMPLETIONS, {"prompt": "a", "n": 2}),
        (COMPLETIONS, {"prompt": ["a", "b"]}),
        (CHAT, {"messages": HELLO, "n": 2}),
    ],
)
async def test_several_answers_cannot_be_saved(
    api: StatesHarness, path: str, body: dict[str, Any]
) -> None:
    response = await api.call("POST", path, json=body | {"save_state": True})
    assert assert_error(response, 400, "invalid_value")["param"] == "save_state"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_while_its_answer_is_saved(tmp_path: Path, stream: bool) -> None:
    api = StatesHarness(tmp_path, script=lambda each: [] if each.task.keeps_state else ["Hi"])
    api.worker.hold_after = 0
    body = {"prompt": "a", "save_state": True, "stream": stream}
    async with serving(api.app) as url:
        writer = await open_request(url, COMPLETIONS, body)
        await api.worker.until(lambda: len(api.worker.generated) == 1)
        first = api.worker.generated[0].request_id
        output = type(api.worker.failure(0))(first, "Hi", [1], "stop")
        api.client.deliver(api.worker.link, [output])
        await api.worker.until(lambda: len(api.worker.generated) == 2)
        writer.close()
        await api.worker.until(lambda: len(api.worker.aborted) == 1)
    assert api.worker.aborted == [api.worker.generated[1].request_id]
    assert (await api.ask("GET", STATES))["data"] == []


async def test_saving_needs_no_room_among_the_requests(tmp_path: Path) -> None:
    states = {"directory": str(tmp_path)}
    api = Harness({"states": states, "limits": {"max_requests": 1}})
    saves = {"prompt": "a", "save_state": True}

    async def keep_busy() -> list[int]:
        await api.worker.until(lambda: api.worker.finished == 1)
        return [(await api.post(COMPLETIONS, prompt="b")).status_code for _ in range(3)]

    answer, _ = await asyncio.gather(api.post(COMPLETIONS, **saves), keep_busy())
    assert answer.json()["state_id"]


def test_ids_of_the_returned_text() -> None:
    class Pairs(FakeTokenizer):
        """Besides bytes, an id from 1000 on is two of them: a full stop and a character."""

        def token_bytes(self, token_id: int) -> bytes:
            return (
                b"." + bytes([token_id - 1000])
                if token_id >= 1000
                else super().token_bytes(token_id)
            )

    tokenizer, space = Pairs(), 1000 + ord(" ")
    cases = [
        ("ab", [*IDS("ab"), 0], IDS("ab")),  # a stop token
        ("ab", [*IDS("ab"), *IDS("\n\nuser:")], IDS("ab")),  # a stop string
        ("ab.", [*IDS("ab"), space], IDS("ab.")),  # one that begins within a token
        ("ab. c", [*IDS("ab"), space, *IDS("c")], [*IDS("ab"), space, *IDS("c")]),
        ("é!", [IDS("é")[0], *IDS("x")], IDS("é!")),  # a character that was left unfinished
        ("a<end>", [*IDS("a"), 0], IDS("a<end>")),  # what a template adds
        ("", [0], []),
    ]
    for text, generated, expected in cases:
        assert ids_of_text(text, generated, tokenizer) == expected, text
