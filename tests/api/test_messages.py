"""/v1/messages with Anthropic's official client: what its users and its own helpers see."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic
from anthropic.types import MessageParam, ToolParam

from server.api.assistant.arguments import arguments_object
from server.tokenizer.tool_messages import call_text
from server.workers.messages import Generate
from tests.api.harness import CREATED, MODEL, Harness, serving

pytestmark = pytest.mark.anyio

HELLO: list[MessageParam] = [{"role": "user", "content": "Weather in Rome?"}]
WEATHER: ToolParam = {
    "name": "weather",
    "description": "Tells the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
ROME = '{"city": "Rome"}'
THINKS = {"model": {"reasoning": "on"}}
Script = Callable[[Generate], list[str]]


def pieces(text: str) -> Script:
    return lambda _: [text[at : at + 4] for at in range(0, len(text), 4)]


@asynccontextmanager
async def client(api: Harness) -> AsyncIterator[AsyncAnthropic]:
    async with (
        serving(api.app) as url,
        AsyncAnthropic(base_url=url, api_key="-", max_retries=0) as sdk,
    ):
        yield sdk


def read(api: Harness) -> str:
    """What the worker was given last."""
    return bytes(i - 1 for i in api.worker.generated[-1].task.prompt_ids).decode()


async def test_a_message() -> None:
    api = Harness()
    async with client(api) as sdk:
        message = await sdk.messages.create(
            model=MODEL, max_tokens=20, system="Be kind.", messages=HELLO
        )
    assert [block.to_dict() for block in message.content] == [
        {"type": "text", "text": "Hello, wörld"}
    ]
    assert (message.role, message.stop_reason, message.model) == ("assistant", "end_turn", MODEL)
    assert message.usage.output_tokens == 3
    assert message.usage.input_tokens > 0
    assert "system: Be kind." in read(api)


async def test_a_stream_adds_up_to_the_message() -> None:
    text = f">Hm.</think>\nA moment.\n{call_text('weather', ROME)}"
    api = Harness(THINKS, script=pieces(text))
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 99, "messages": HELLO}
    asked["tools"] = [WEATHER]
    async with client(api) as sdk:
        whole = await sdk.messages.create(**asked)
        async with sdk.messages.stream(**asked) as stream:
            kinds = [event.type async for event in stream]
            streamed = await stream.get_final_message()
    assert [block.type for block in whole.content] == ["thinking", "text", "tool_use"]
    thought, said, call = (block.to_dict() for block in whole.content)
    assert thought["thinking"] == "Hm."
    assert said["text"] == "A moment."
    assert (call["name"], call["input"]) == ("weather", {"city": "Rome"})
    assert str(call["id"]).startswith("toolu_")
    assert whole.stop_reason == streamed.stop_reason == "tool_use"
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 3
    for one, other in zip(whole.content, streamed.content, strict=True):
        changed = {"id", "parsed_output"}
        assert {k: v for k, v in one.to_dict().items() if k not in changed} == {
            k: v for k, v in other.to_dict().items() if k not in changed
        }
    assert streamed.usage.output_tokens == whole.usage.output_tokens


async def test_results_of_tools_are_read() -> None:
    api = Harness()
    messages: list[MessageParam] = [
        *HELLO,
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": ""},
                {"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rom"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "dry"},
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_2",
                    "content": [{"type": "text", "text": "no city"}],
                    "is_error": True,
                },
                {"type": "text", "text": "And then?"},
            ],
        },
    ]
    async with client(api) as sdk:
        await sdk.messages.create(model=MODEL, max_tokens=9, messages=messages, tools=[WEATHER])
    said = max(api.template.rendered, key=len)
    roles = [message["role"] for message in said]
    assert roles == ["user", "assistant", "tool", "tool", "user"]
    assert said[1]["tool_calls"][0]["id"] == "1"
    assert [message["content"] for message in said[2:]] == ["dry", "Error:\nno city", "And then?"]


async def test_a_last_message_of_the_assistant_is_continued() -> None:
    api = Harness()
    messages: list[MessageParam] = [*HELLO, {"role": "assistant", "content": "It is"}]
    async with client(api) as sdk:
        await sdk.messages.create(model=MODEL, max_tokens=9, messages=messages)
    assert read(api).endswith("It is")


async def test_which_sequence_stopped_it() -> None:
    api = Harness()
    api.worker.stop_string = ", w"
    async with client(api) as sdk:
        asked: dict[str, Any] = {"model": MODEL, "max_tokens": 9, "messages": HELLO}
        message = await sdk.messages.create(**asked, stop_sequences=["x", ", w"])
        async with sdk.messages.stream(**asked, stop_sequences=["x", ", w"]) as stream:
            streamed = await stream.get_final_message()
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", ", w")
    assert (streamed.stop_reason, streamed.stop_sequence) == ("stop_sequence", ", w")
    assert {"x", ", w"} <= set(api.worker.generated[-1].task.params.stop)


async def test_an_answer_that_is_cut() -> None:
    api = Harness()
    async with client(api) as sdk:
        message = await sdk.messages.create(model=MODEL, max_tokens=2, messages=HELLO)
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 2)


async def test_tokens_are_counted() -> None:
    api = Harness()
    async with client(api) as sdk:
        count = await sdk.messages.count_tokens(model=MODEL, messages=HELLO, system="Be kind.")
        message = await sdk.messages.create(
            model=MODEL, max_tokens=2, messages=HELLO, system="Be kind."
        )
    usage = message.usage
    read_in_all = usage.input_tokens + (usage.cache_creation_input_tokens or 0)
    assert count.input_tokens == read_in_all + (usage.cache_read_input_tokens or 0)


async def test_the_models() -> None:
    api = Harness()
    async with client(api) as sdk:
        (model,) = [each async for each in sdk.models.list()]
        found = await sdk.models.retrieve(MODEL)
    assert model == found
    assert (model.id, model.type, model.display_name) == (MODEL, "model", MODEL)
    assert int(model.created_at.timestamp()) == CREATED


@pytest.mark.parametrize(
    ("fields", "error", "param"),
    [
        ({"max_tokens": 0}, anthropic.BadRequestError, "max_tokens"),
        ({"model": "other"}, anthropic.NotFoundError, "model"),
        ({"messages": []}, anthropic.BadRequestError, "messages"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
            anthropic.BadRequestError,
            "messages.0.content.0",
        ),
        (
            {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
            anthropic.BadRequestError,
            "tools[0].type",
        ),
        ({"tool_choice": {"type": "any"}}, anthropic.BadRequestError, "tool_choice"),
        ({"extra_body": {"n": 2}}, anthropic.BadRequestError, "n"),
        ({"extra_body": {"mcp_servers": [{}]}}, anthropic.BadRequestError, "mcp_servers"),
    ],
)
async def test_errors_are_those_of_the_client(
    fields: dict[str, Any], error: type[anthropic.APIStatusError], param: str
) -> None:
    api = Harness()
    async with client(api) as sdk:
        with pytest.raises(error) as found:
            await sdk.messages.create(
                **{"model": MODEL, "max_tokens": 5, "messages": HELLO} | fields
            )
    body: Any = found.value.body
    assert body["type"] == "error"
    assert body["error"]["param"] == param
    assert body["error"]["message"]
    assert body["request_id"] == found.value.request_id


async def test_a_failure_in_the_stream_is_an_error_of_the_client() -> None:
    api = Harness(finish="error", error="out of luck")
    async with client(api) as sdk:
        with pytest.raises(anthropic.APIStatusError) as found:
            async with sdk.messages.stream(model=MODEL, max_tokens=5, messages=HELLO) as stream:
                await stream.get_final_message()
    body: Any = found.value.body
    assert body["error"]["type"] == "api_error"


async def test_a_key_is_taken_from_either_header() -> None:
    api = Harness({"http": {"api_key": "rk-right"}})
    async with serving(api.app) as url:
        asked: dict[str, Any] = {"model": MODEL, "max_tokens": 5, "messages": HELLO}
        async with AsyncAnthropic(base_url=url, api_key="rk-right", max_retries=0) as sdk:
            assert (await sdk.messages.create(**asked)).stop_reason == "end_turn"
        async with AsyncAnthropic(base_url=url, auth_token="rk-right", max_retries=0) as sdk:
            assert (await sdk.messages.create(**asked)).stop_reason == "end_turn"
        async with AsyncAnthropic(base_url=url, api_key="wrong", max_retries=0) as sdk:
            with pytest.raises(anthropic.AuthenticationError):
                await sdk.messages.create(**asked)


@pytest.mark.parametrize(
    ("choice", "forced"),
    [
        ({"type": "auto"}, False),
        ({"type": "any"}, True),
        ({"type": "tool", "name": "weather"}, True),
        ({"type": "none"}, False),
    ],
)
async def test_forced_tools_are_a_grammar(choice: Any, forced: bool) -> None:
    api = Harness(script=pieces(call_text("weather", ROME)))
    async with client(api) as sdk:
        message = await sdk.messages.create(
            model=MODEL, max_tokens=99, messages=HELLO, tools=[WEATHER], tool_choice=choice
        )
    assert bool(api.worker.generated[-1].task.params.grammar) == forced
    is_call = choice["type"] != "none"
    assert message.stop_reason == ("tool_use" if is_call else "end_turn")


async def test_a_schema_of_the_answer() -> None:
    api = Harness(script=lambda _: ["{}"])
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    async with client(api) as sdk:
        await sdk.messages.create(
            model=MODEL,
            max_tokens=99,
            messages=HELLO,
            output_config={"format": {"type": "json_schema", "schema": schema}},
        )
    assert "json_schema" in api.worker.generated[-1].task.params.grammar


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", {}),
        ('{"city": "Ro', {"city": "Ro"}),
        ("[1]", {"arguments": "[1]"}),
        ("Rome", {"arguments": "Rome"}),
    ],
)
def test_arguments_that_are_no_object_are_not_lost(
    arguments: str, expected: dict[str, Any]
) -> None:
    assert arguments_object(arguments) == expected
