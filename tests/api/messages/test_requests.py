"""What requests of Anthropic's clients ask of the worker, and what they are told of the end."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from anthropic.types import MessageParam, ToolParam

from server.assistant.arguments import arguments_object
from server.protocol.messages import Generate
from server.tokenizer.tool_messages import call_text
from tests.api.harness import MODEL, Harness, serving

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


BILLING = "x-anthropic-billing-header: cc_version=2.1.197.{}; cc_entrypoint=cli;"


@pytest.mark.parametrize(
    ("system", "left"),
    [
        ([BILLING], []),
        ([BILLING, "Be kind."], ["Be kind."]),
        (["Be kind.", BILLING], ["Be kind."]),
        ([f"Be kind.\n{BILLING}"], [f"Be kind.\n{BILLING}"]),
        (BILLING, []),
    ],
)
async def test_what_changes_with_each_prompt_is_not_read(system: Any, left: list[str]) -> None:
    api = Harness()

    async def ask(system: Any) -> str:
        await sdk.messages.create(model=MODEL, max_tokens=9, messages=HELLO, system=system)
        return read(api)

    def blocks(texts: list[str]) -> Any:
        return [{"type": "text", "text": text} for text in texts]

    async with client(api) as sdk:
        given = system if isinstance(system, str) else blocks(system)
        assert await ask(given) == await ask(blocks(left) if left else [])
