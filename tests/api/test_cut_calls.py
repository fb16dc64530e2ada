"""Calls that must be made and are cut by max_tokens show nothing of their markup."""

from typing import Any

import pytest

from server.tokenizer.tool_messages import call_text
from tests.api.answers import HELLO, TIME, TOOLS, says, streamed, whole
from tests.api.harness import CHAT, MODEL, Harness

pytestmark = pytest.mark.anyio

ROME = '{"city": "Rome"}'
TEXTS = {
    "hermes": f"<think>hm</think>\n{call_text('weather', ROME)}\n{call_text('weather', ROME)}",
    "mistral": f'[TOOL_CALLS][{{"name": "weather", "arguments": {ROME}}}, {{"name": "time"}}]',
    "llama": f'{{"name": "weather", "parameters": {ROME}}}; {{"name": "time"}}',
}
CALL = {"name": "weather", "input_schema": {"type": "object"}}
FUNCTION = {"type": "function", "name": "weather"}
DIALECTS: dict[str, dict[str, Any]] = {
    "/v1/messages": {"messages": HELLO, "tools": [CALL], "tool_choice": {"type": "any"}},
    "/v1/responses": {"input": "hi", "tools": [FUNCTION], "tool_choice": "required"},
}


def api_of(syntax: str) -> Harness:
    """A model that writes the calls in its way."""
    api = Harness({"model": {"reasoning": "on"}}, script=says(TEXTS[syntax]))
    api.template.call_syntax = syntax
    api.template.render = lambda *_, **__: "assistant:\n"  # type: ignore[method-assign]
    return api


@pytest.mark.parametrize("syntax", TEXTS)
@pytest.mark.parametrize("choice", ["required", TIME])
async def test_wherever_it_is_cut_there_is_no_content(syntax: str, choice: Any) -> None:
    api, text = api_of(syntax), TEXTS[syntax]
    for most in range(1, len(text) + 1, 3 if choice == "required" else 17):
        body = {"tools": TOOLS, "tool_choice": choice, "max_tokens": most}
        one = await whole(api, **body)
        assert one["message"]["content"] is None
        assert one["finish_reason"] == "length"
        for call in one["message"].get("tool_calls", ()):
            arguments = call["function"]["arguments"]
            assert ROME.startswith(arguments) or arguments == "{}"
        other = await streamed(api, **body)
        assert other["message"]["content"] == ""
        assert other["finish_reason"] == "length"


@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize("syntax", TEXTS)
async def test_in_other_dialects_neither(path: str, syntax: str) -> None:
    api, text = api_of(syntax), TEXTS[syntax]
    for most in range(16, len(text) + 1, 9):  # no fewer tokens may be asked of responses
        name = "max_tokens" if path == "/v1/messages" else "max_output_tokens"
        response = await api.post(path, model=MODEL, **DIALECTS[path], **{name: most})
        answer = response.json()
        if path == "/v1/messages":
            assert answer["stop_reason"] == "max_tokens"
            said = [block["text"] for block in answer["content"] if block["type"] == "text"]
        else:
            assert answer["status"] == "incomplete"
            assert answer["incomplete_details"] == {"reason": "max_output_tokens"}
            items = [item for item in answer["output"] if item["type"] == "message"]
            said = [part["text"] for item in items for part in item["content"]]
        assert not "".join(said)


async def test_calls_that_need_not_be_made_are_content_until_they_are_calls() -> None:
    api = api_of("hermes")
    cut = TEXTS["hermes"].index('"name"')
    choice = await whole(api, tools=TOOLS, max_tokens=cut + 1)
    assert choice["message"]["content"] == "<tool_call>\n{"


@pytest.mark.parametrize(("choice", "stops"), [("required", []), (TIME, []), ("auto", ["Rome"])])
async def test_stop_strings_do_not_cut_calls_that_must_be_made(
    choice: Any, stops: list[str]
) -> None:
    """Arguments would be no JSON then; those of the template still end the turn."""
    api = Harness()
    body = {"messages": HELLO, "tools": TOOLS, "tool_choice": choice, "stop": ["Rome"]}
    assert (await api.post(CHAT, **body)).status_code == 200
    assert list(api.worker.generated[0].task.params.stop) == ["\n\nuser:", *stops]
