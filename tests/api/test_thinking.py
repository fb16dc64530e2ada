"""Thoughts in /v1/chat/completions, and answers that go on with the last message."""

import json
from typing import Any

import pytest

from tests.api.answers import HELLO, says, streamed, whole
from tests.api.harness import CHAT, Harness, events
from tests.fake_text import FakeTokenizer

pytestmark = pytest.mark.anyio


async def test_thoughts_are_told_from_the_answer_and_counted() -> None:
    text = ">\nhm </thin\n</think>\nHi"
    api = Harness({"model": {"reasoning": "on"}}, script=says(text))
    prompt = "user: hi\n\nassistant: <think"
    one, other = await whole(api), await streamed(api)
    assert one == other
    assert one["message"]["reasoning_content"] == one["message"]["reasoning"] == "hm </thin"
    assert one["message"]["content"] == "Hi"
    assert FakeTokenizer().decode(api.worker.generated[0].task.prompt_ids) == prompt
    response = await api.post(CHAT, messages=HELLO, n=2)
    details = response.json()["usage"]["completion_tokens_details"]
    assert details["reasoning_tokens"] == 2 * len("\0" + text.removesuffix("\nHi"))
    options = {"include_usage": True}
    stream = await api.post(CHAT, messages=HELLO, n=2, stream=True, stream_options=options)
    assert json.loads(events(stream.text)[-2])["usage"]["completion_tokens_details"] == details


@pytest.mark.parametrize(
    ("setting", "fields", "thinks"),
    [
        ("on", {}, True),
        ("on", {"reasoning_effort": "none"}, False),
        ("on", {"reasoning_effort": "minimal"}, False),
        ("on", {"reasoning_effort": "low"}, True),
        ("on", {"enable_thinking": False, "reasoning_effort": "high"}, False),
        (
            "on",
            {"chat_template_kwargs": {"enable_thinking": False}, "enable_thinking": True},
            False,
        ),
        ("off", {"reasoning_effort": "high"}, False),
        ("off", {"enable_thinking": True}, False),
    ],
)
async def test_who_says_whether_it_thinks(
    setting: str, fields: dict[str, Any], thinks: bool
) -> None:
    api = Harness({"model": {"reasoning": setting}}, script=says("a</think>b"))
    message = (await whole(api, **fields))["message"]
    assert message.get("reasoning_content") == ("a" if thinks else None)
    assert message["content"] == ("b" if thinks else "a</think>b")
    variables = api.template.variables[0]
    assert variables["enable_thinking"] == thinks
    wanted = fields.get("reasoning_effort") if setting == "on" else None
    assert variables.get("reasoning_effort") == wanted


@pytest.mark.parametrize("content", ["Hello wor", "Hello wor ", "<think>so"])
async def test_the_last_message_is_continued(content: str) -> None:
    api = Harness({"model": {"reasoning": "on"}}, script=says(" ld</think>!"))
    messages = [*HELLO, {"role": "assistant", "content": content}]
    body = {"messages": messages, "continue_final_message": True, "add_generation_prompt": False}
    response = await api.post(CHAT, **body)
    prompt = FakeTokenizer().decode(api.worker.generated[0].task.prompt_ids)
    assert prompt == f"user: hi\n\nassistant: {content}"
    message = response.json()["choices"][0]["message"]
    if "<think>" in content:
        assert (message["reasoning_content"], message["content"]) == ("ld", "!")
    else:
        assert message["content"] == " ld</think>!"  # blanks are part of what goes on
    await api.post(CHAT, messages=messages, add_generation_prompt=False)
    prompt = FakeTokenizer().decode(api.worker.generated[1].task.prompt_ids)
    assert prompt == f"user: hi\n\nassistant: {content}"


async def test_older_names_of_what_was_said() -> None:
    api = Harness()
    call = {"name": "f", "arguments": "{}"}
    messages = [{"role": "assistant", "function_call": call, "reasoning": "so"}, *HELLO]
    assert (await api.post(CHAT, messages=messages)).status_code == 200
    said = api.template.rendered[0][0]
    assert said["reasoning_content"] == "so"
    assert [each["function"]["name"] for each in said["tool_calls"]] == ["f"]
    assert not said.keys() & {"reasoning", "function_call"}
