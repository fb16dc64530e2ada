"""The official client against the app: what its users and its own helpers see."""

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import anyio.to_thread
import pytest
from anthropic import Anthropic, AsyncAnthropic, beta_async_tool

from server.protocol.messages import Generate
from server.tokenizer.tool_messages import call_text
from tests.api.harness import MODEL, Harness, serving

pytestmark = pytest.mark.anyio

ASK: Any = {
    "model": MODEL,
    "max_tokens": 500,
    "messages": [{"role": "user", "content": "Weather in Rome?"}],
}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS: Any = [{"name": "weather", "description": "Tells it.", "input_schema": SCHEMA}]
DEEP: Any = {}
for _ in range(70):
    DEEP = {"a": DEEP}
DEEP_CALL = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": DEEP}
ROME = '{"city": "Rome"}'


def prompt_of(request: Generate) -> bytes:
    return bytes(ident - 1 for ident in request.task.prompt_ids)


def script(request: Generate) -> list[str]:
    """Thoughts and a call; once it is answered, words."""
    if b"tool: " in prompt_of(request):
        return [">So</think>", "It is dry."]
    text = f">Let me\nsee</think>\nJust a moment.\n{call_text('weather', ROME)}"
    return [text[at : at + 5] for at in range(0, len(text), 5)]


@pytest.fixture
def api() -> Harness:
    return Harness({"model": {"reasoning": "on"}}, script=script)


@pytest.fixture
async def url(api: Harness) -> AsyncIterator[str]:
    async with serving(api.app) as base:
        yield base


@pytest.fixture
async def sdk(url: str) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=url, api_key="-", max_retries=0) as client:
        yield client


async def test_a_message_has_thoughts_text_and_a_call(sdk: AsyncAnthropic) -> None:
    message = await sdk.messages.create(**ASK, tools=TOOLS)
    thinking, text, call = message.content
    assert (thinking.type, text.type, call.type) == ("thinking", "text", "tool_use")
    assert thinking.type == "thinking"
    assert thinking.thinking == "Let me\nsee"
    assert text.type == "text"
    assert text.text == "Just a moment."
    assert call.type == "tool_use"
    assert call.input == {"city": "Rome"}
    assert call.id.startswith("toolu_")
    assert message.stop_reason == "tool_use"
    assert message.usage.output_tokens > 0
    assert message._request_id


async def test_the_synchronous_client_gets_the_same(url: str) -> None:
    def ask() -> anthropic.types.Message:
        with Anthropic(base_url=url, api_key="-", max_retries=0) as client:
            return client.messages.create(**ASK, tools=TOOLS)

    message = await anyio.to_thread.run_sync(ask)
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]


async def test_the_stream_helper_ends_with_the_same_message(sdk: AsyncAnthropic) -> None:
    whole = await sdk.messages.create(**ASK, tools=TOOLS)
    async with sdk.messages.stream(**ASK, tools=TOOLS) as stream:
        kinds = [event.type async for event in stream]
        streamed = await stream.get_final_message()
    own = {"id", "content", "usage"}
    assert streamed.model_dump(exclude=own) == whole.model_dump(exclude=own)
    ids = {"id", "parsed_output"}
    assert [b.model_dump(exclude=ids) for b in streamed.content] == [
        b.model_dump(exclude=ids) for b in whole.content
    ]
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")


async def test_the_tool_runner_goes_on_until_there_are_words(
    sdk: AsyncAnthropic, api: Harness
) -> None:
    @beta_async_tool
    async def weather(city: str) -> str:
        """Tells it."""
        return f"dry in {city}"

    last = await sdk.beta.messages.tool_runner(**ASK, tools=[weather]).until_done()
    assert [b.text for b in last.content if b.type == "text"] == ["It is dry."]
    assert last.stop_reason == "end_turn"
    assert b"tool: dry in Rome" in prompt_of(api.worker.generated[-1])


async def test_tokens_are_counted_as_they_are_read(sdk: AsyncAnthropic, api: Harness) -> None:
    counted = await sdk.messages.count_tokens(model=MODEL, messages=ASK["messages"], tools=TOOLS)
    assert not api.worker.generated
    message = await sdk.messages.create(**ASK, tools=TOOLS)
    assert counted.input_tokens == message.usage.input_tokens
    assert counted.input_tokens == len(api.worker.generated[0].task.prompt_ids)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "image"),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search_20250305"),
    ({"tools": [{"name": "a b", "input_schema": SCHEMA}]}, "tools[0].name"),
    ({"tool_choice": {"type": "tool", "name": "x"}}, "tool_choice"),
    ({"stop_sequences": ["a", ""]}, "stop_sequences"),
    ({"extra_body": {"n": 2}}, "n:"),
    ({"max_tokens": 0}, "max_tokens"),
    (
        {"messages": [{"role": "assistant", "content": [DEEP_CALL]}, *ASK["messages"]]},
        "messages.0.content.0.input: ",
    ),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text:"),
    (
        {"output_config": {"format": {"type": "json_schema", "schema": {"enum": []}}}},
        "output_config.format.schema: ",
    ),
]


@pytest.mark.parametrize(("fields", "named"), REFUSED)
async def test_what_cannot_be_done_is_refused_by_name(
    sdk: AsyncAnthropic, fields: dict[str, Any], named: str
) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        await sdk.messages.create(**{**ASK, **fields})
    body: Any = caught.value.body
    assert body["type"] == "error"
    assert body["error"]["type"] == "invalid_request_error"
    assert named in body["error"]["message"]
    assert body["request_id"] == caught.value.request_id


async def test_an_unknown_model_is_not_found(sdk: AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError):
        await sdk.messages.create(**{**ASK, "model": "nobody"})


async def test_max_tokens_are_needed() -> None:
    response = await Harness().post("/v1/messages", messages=ASK["messages"])
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith("max_tokens")


async def test_keys_are_taken_from_their_header_and_wrong_ones_refused() -> None:
    api = Harness({"http": {"api_key": "right"}})
    async with serving(api.app) as base:
        for key in ("right", "wrong"):
            async with AsyncAnthropic(base_url=base, api_key=key, max_retries=0) as client:
                if key == "right":
                    assert (await client.messages.create(**ASK)).stop_reason == "end_turn"
                    continue
                with pytest.raises(anthropic.AuthenticationError) as caught:
                    await client.messages.create(**ASK)
    body: Any = caught.value.body
    assert body["error"]["type"] == "authentication_error"


async def test_an_error_in_a_stream_is_an_event() -> None:
    api = Harness(finish="error", error="out of luck")
    async with serving(api.app) as base, AsyncAnthropic(base_url=base, api_key="-") as client:
        with pytest.raises(anthropic.APIStatusError, match="out of luck") as caught:
            async with client.messages.stream(**ASK) as stream:
                await stream.get_final_message()
    assert caught.value.status_code == 200  # it had begun


async def test_results_errors_and_prefills_reach_the_model(
    sdk: AsyncAnthropic, api: Harness
) -> None:
    call = {"type": "tool_use", "id": "toolu_abc", "name": "weather", "input": {"city": "Rome"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_abc", "is_error": True, "content": "no"}
    turns: Any = [*ASK["messages"], {"role": "assistant", "content": [call]}]
    turns += [{"role": "user", "content": [result, {"type": "text", "text": "And now?"}]}]
    await sdk.messages.create(**{**ASK, "messages": turns}, tools=TOOLS, system="Be kind.")
    prompt = prompt_of(api.worker.generated[-1])
    parts = [b"Be kind.", b"tool: Error:\nno", b"And now?"]
    places = [prompt.index(part) for part in parts]
    assert places == sorted(places)
    prefill: Any = [*ASK["messages"], {"role": "assistant", "content": "It is"}]
    await sdk.messages.create(**{**ASK, "messages": prefill})
    assert prompt_of(api.worker.generated[-1]).endswith(b"It is")


async def test_models_are_listed_in_the_clients_form(sdk: AsyncAnthropic) -> None:
    listed = await sdk.models.list()
    assert [(model.id, model.type) for model in listed.data] == [(MODEL, "model")]
    assert (await sdk.models.retrieve(MODEL)).display_name == MODEL
    with pytest.raises(anthropic.NotFoundError):
        await sdk.models.retrieve("nobody")
