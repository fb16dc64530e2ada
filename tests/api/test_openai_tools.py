"""The official client with tools and thoughts: what its users and its own helpers see."""

import asyncio
from collections.abc import AsyncIterator

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel

from server.protocol.messages import Generate
from server.tokenizer.tool_messages import call_text
from tests.api.harness import MODEL, Harness, serving

pytestmark = pytest.mark.anyio

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Weather in Rome?"}]


class Weather(BaseModel):
    """Tells the weather of a city."""

    city: str
    days: int = 1


class Time(BaseModel):
    """Tells the time."""

    zone: str


TOOLS = [openai.pydantic_function_tool(Weather), openai.pydantic_function_tool(Time)]
ROME, UTC = '{"city": "Rome", "days": 2}', '{"zone": "UTC"}'


def script(request: Generate) -> list[str]:
    """Thoughts and two calls; once they are answered, words."""
    if b"tool: dry" in bytes(ident - 1 for ident in request.task.prompt_ids):
        return [">So</think>", "It is dry."]
    text = f">Let me\nsee</think>\nJust a moment.\n{call_text('Weather', ROME)}\n"
    text += call_text("Time", UTC)
    return [text[at : at + 5] for at in range(0, len(text), 5)]


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """Where a model that thinks is served."""
    api = Harness({"model": {"reasoning": "on"}}, script=script)
    async with serving(api.app) as base:
        yield f"{base}/v1"


@pytest.fixture
async def sdk(url: str) -> AsyncIterator[AsyncOpenAI]:
    """The asynchronous client, without its retries."""
    async with AsyncOpenAI(base_url=url, api_key="-", max_retries=0) as client:
        yield client


async def test_an_agents_loop(sdk: AsyncOpenAI) -> None:
    answer = await sdk.chat.completions.create(model=MODEL, messages=HELLO, tools=TOOLS)
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Just a moment."
    assert choice.message.model_extra is not None
    assert choice.message.model_extra["reasoning_content"] == "Let me\nsee"
    assert choice.message.tool_calls is not None
    assert [call.type for call in choice.message.tool_calls] == ["function"] * 2
    results: list[ChatCompletionMessageParam] = [
        {"role": "tool", "tool_call_id": call.id, "content": content}
        for call, content in zip(choice.message.tool_calls, ["dry", "noon"], strict=True)
    ]
    # As its documentation does: the message goes back as it came.
    messages = [*HELLO, choice.message, *results]
    answer = await sdk.chat.completions.create(
        model=MODEL,
        messages=messages,  # type: ignore[arg-type]
        tools=TOOLS,
    )
    assert answer.choices[0].message.content == "It is dry."
    assert answer.choices[0].finish_reason == "stop"


async def test_arguments_are_parsed(sdk: AsyncOpenAI) -> None:
    answer = await sdk.chat.completions.parse(model=MODEL, messages=HELLO, tools=TOOLS)
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    parsed = [call.function.parsed_arguments for call in calls]
    assert parsed == [Weather(city="Rome", days=2), Time(zone="UTC")]


async def test_the_events_of_a_stream(sdk: AsyncOpenAI) -> None:
    async with sdk.chat.completions.stream(model=MODEL, messages=HELLO, tools=TOOLS) as stream:
        events = [event async for event in stream]
        answer = await stream.get_final_completion()
    deltas = [each for each in events if each.type == "tool_calls.function.arguments.delta"]
    for index, arguments in enumerate([ROME, UTC]):
        own = [each.arguments_delta for each in deltas if each.index == index]
        assert "".join(own) == arguments
    done = [each for each in events if each.type == "tool_calls.function.arguments.done"]
    assert [(each.name, each.index, each.arguments) for each in done] == [
        ("Weather", 0, ROME),
        ("Time", 1, UTC),
    ]
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Just a moment."
    assert choice.message.model_extra is not None
    assert choice.message.model_extra["reasoning_content"] == "Let me\nsee"
    assert choice.message.tool_calls is not None
    first = choice.message.tool_calls[0].function
    assert (first.name, first.parsed_arguments) == ("Weather", Weather(city="Rome", days=2))


async def test_the_synchronous_client(url: str) -> None:
    def talk() -> tuple[list[str], str]:
        with OpenAI(base_url=url, api_key="-") as client:
            chunks = client.chat.completions.create(
                model=MODEL, messages=HELLO, tools=TOOLS, stream=True
            )
            names: list[str] = []
            arguments = ""
            for chunk in chunks:
                for call in chunk.choices[0].delta.tool_calls or ():
                    assert call.function is not None
                    names += [call.function.name] if call.function.name else []
                    arguments += call.function.arguments or ""
            return names, arguments

    assert await asyncio.to_thread(talk) == (["Weather", "Time"], ROME + UTC)


async def test_refused_tools_are_the_clients_errors(sdk: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await sdk.chat.completions.create(
            model=MODEL,
            messages=HELLO,
            tools=[{"type": "function", "function": {"name": "no name"}}],
        )
    assert refused.value.param == "tools[0].function.name"
