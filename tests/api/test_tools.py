"""Tools in /v1/chat/completions: what reaches the worker, and what comes back."""

import json
from typing import Any

import pytest

from server.tokenizer.tool_messages import call_text
from tests.api.answers import HELLO, TIME, TOOLS, WEATHER, says, streamed, whole, without_ids
from tests.api.harness import CHAT, Harness, events

pytestmark = pytest.mark.anyio

ROME, NOON = '{"city": "Rome"}', '{"zone": "</tool_call>"}'
ANSWER = f" Let me see.\n{call_text('weather', ROME)}\n{call_text('time', NOON)}"


async def test_calls_are_taken_out_of_the_answer() -> None:
    choice = await whole(Harness(script=says(ANSWER)), tools=TOOLS)
    assert choice["finish_reason"] == "tool_calls"
    message = choice["message"]
    ids = [call.pop("id") for call in message["tool_calls"]]
    assert len(set(ids)) == 2
    assert message == {
        "role": "assistant",
        "content": "Let me see.",
        "refusal": None,
        "tool_calls": [
            {"type": "function", "function": {"name": "weather", "arguments": ROME}},
            {"type": "function", "function": {"name": "time", "arguments": NOON}},
        ],
    }


@pytest.mark.parametrize(
    "text", [ANSWER, call_text("time", "{}"), "No calls. ", "<tool_call>no</tool_call>", "<tool_c"]
)
@pytest.mark.parametrize("parallel", [True, False])
async def test_a_stream_makes_the_same_message(text: str, parallel: bool) -> None:
    api = Harness(script=says(text))
    body = {"tools": TOOLS, "parallel_tool_calls": parallel}
    one, other = await whole(api, **body), await streamed(api, **body)
    assert without_ids(one) == without_ids(other)
    calls = one["message"].get("tool_calls", [])
    assert len(calls) == (text.count("tool_call>\n{") if parallel else "tool_call>\n{" in text)
    assert (one["message"]["content"] is None) == (bool(calls) and text != ANSWER)


async def test_arguments_are_streamed_as_they_come() -> None:
    api = Harness(script=says(ANSWER))
    response = await api.post(CHAT, messages=HELLO, tools=TOOLS, stream=True)
    deltas = [json.loads(data)["choices"][0]["delta"] for data in events(response.text)[:-1]]
    fragments = [each for delta in deltas for each in delta.get("tool_calls", ())]
    # At worst, a slow reader gets several tokens at once.
    assert len(fragments) > 2 * 3
    assert [each["index"] for each in fragments] == sorted(each["index"] for each in fragments)


async def test_choices_have_calls_of_their_own() -> None:
    api = Harness(script=lambda each: [call_text(f"f{each.task.params.seed}", "{}")])
    response = await api.post(CHAT, messages=HELLO, tools=TOOLS, n=2, seed=0)
    calls = [choice["message"]["tool_calls"] for choice in response.json()["choices"]]
    assert [call["function"]["name"] for (call,) in calls] == ["f0", "f1"]


@pytest.mark.parametrize(
    ("fields", "finish", "expected"),
    [
        ({}, "stop", "tool_calls"),
        ({"tool_choice": "required"}, "stop", "tool_calls"),
        ({"tool_choice": TIME}, "stop", "stop"),  # the client knows that it is called
        ({}, "length", "length"),
    ],
)
async def test_the_finish_reason(fields: dict[str, Any], finish: str, expected: str) -> None:
    api = Harness(script=says(call_text("time", "{}")), finish=finish)
    for ask in (whole, streamed):
        assert (await ask(api, tools=TOOLS, **fields))["finish_reason"] == expected


async def test_a_call_that_is_cut_off_keeps_what_there_is() -> None:
    api = Harness(script=says(ANSWER))
    body = {"tools": TOOLS, "max_tokens": ANSWER.index("Rome") + 3}
    one, other = await whole(api, **body), await streamed(api, **body)
    assert without_ids(one) == without_ids(other)
    assert one["finish_reason"] == "length"
    assert one["message"]["tool_calls"][0]["function"]["arguments"] == '{"city": "Ro'


@pytest.mark.parametrize("fields", [{}, {"tools": TOOLS, "tool_choice": "none"}, {"tools": []}])
async def test_without_tools_everything_is_content(fields: dict[str, Any]) -> None:
    api = Harness(script=says(ANSWER))
    choice = await whole(api, **fields)
    assert choice["message"]["content"] == ANSWER.lstrip()
    assert choice["finish_reason"] == "stop"
    assert api.template.variables[0]["tools"] is None


async def test_the_template_is_shown_the_tools() -> None:
    api = Harness()
    kwargs = {"x": [1], "enable_thinking": True}
    await api.post(CHAT, messages=HELLO, tools=TOOLS, chat_template_kwargs=kwargs)
    # The fake model does not think, whatever it is asked.
    assert api.template.variables[0] == {"tools": TOOLS, "x": [1], "enable_thinking": False}


@pytest.mark.parametrize(
    ("fields", "held"),
    [
        ({}, False),
        ({"tool_choice": "auto"}, False),
        ({"tool_choice": "none"}, False),
        ({"tool_choice": "required"}, True),
        ({"tool_choice": TIME}, True),
        ({"tools": [WEATHER | {"function": {**WEATHER["function"], "strict": True}}]}, True),  # type: ignore[dict-item]
        ({"tool_choice": {"type": "allowed_tools",
                          "allowed_tools": {"mode": "auto", "tools": [TIME]}}}, True),
    ],
)  # fmt: skip
async def test_forced_calls_have_a_grammar(fields: dict[str, Any], held: bool) -> None:
    api = Harness()
    await api.post(CHAT, messages=HELLO, n=2, **{"tools": TOOLS, **fields})
    for request in api.worker.generated:
        assert bool(request.task.params.grammar) == held
