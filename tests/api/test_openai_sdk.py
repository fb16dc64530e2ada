"""The official client against this server: what its users see."""

import asyncio
from collections.abc import AsyncIterator

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from server.protocol.task import Task
from server.sampling.params import SamplingParams
from tests.api.harness import MODEL, Harness, serving

pytestmark = pytest.mark.anyio

HELLO = [openai.types.chat.ChatCompletionUserMessageParam(role="user", content="hi")]


@pytest.fixture
async def api() -> Harness:
    """A server's parts; a test may change the worker before it calls."""
    return Harness({"limits": {"max_requests": 2}})


@pytest.fixture
async def url(api: Harness) -> AsyncIterator[str]:
    """Where it is served."""
    async with serving(api.app) as base:
        yield f"{base}/v1"


@pytest.fixture
async def sdk(url: str) -> AsyncIterator[AsyncOpenAI]:
    """The asynchronous client, without its retries."""
    async with AsyncOpenAI(base_url=url, api_key="-", max_retries=0) as client:
        yield client


async def test_models(sdk: AsyncOpenAI) -> None:
    assert [model.id async for model in sdk.models.list()] == [MODEL]
    assert (await sdk.models.retrieve(MODEL)).id == MODEL
    with pytest.raises(openai.NotFoundError):
        await sdk.models.retrieve("other/model")


async def test_chat(sdk: AsyncOpenAI) -> None:
    answer = await sdk.chat.completions.create(model=MODEL, messages=HELLO, n=2)
    assert [choice.message.content for choice in answer.choices] == ["Hello, wörld"] * 2
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 6
    assert answer._request_id is not None


async def test_the_fields_of_the_cache(api: Harness, sdk: AsyncOpenAI) -> None:
    text = openai.types.chat.ChatCompletionContentPartTextParam(
        type="text", text="hi", prompt_cache_breakpoint={"mode": "explicit", "ttl": "12h"}
    )
    message = openai.types.chat.ChatCompletionUserMessageParam(role="user", content=[text])
    answer = await sdk.chat.completions.create(
        model=MODEL,
        messages=[message],
        prompt_cache_key="conversation 1",
        prompt_cache_options={"mode": "explicit", "ttl": "30m"},
        prompt_cache_retention="24h",
    )
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cache_write_tokens == 0
    use = api.worker.generated[0].task.use
    assert (list(use.boundaries.values()), use.implicit) == (["breakpoint"], False)


async def test_chat_stream(sdk: AsyncOpenAI) -> None:
    chunks = [
        chunk
        async for chunk in await sdk.chat.completions.create(
            model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    ]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3
    deltas = [chunk.choices[0].delta for chunk in chunks[:-1]]
    assert "".join(delta.content or "" for delta in deltas) == "Hello, wörld"
    assert [delta.role for delta in deltas if delta.role] == ["assistant"]


async def test_the_sdks_own_accumulation(sdk: AsyncOpenAI) -> None:
    async with sdk.chat.completions.stream(
        model=MODEL, messages=HELLO, n=2, stream_options={"include_usage": True}
    ) as stream:
        answer = await stream.get_final_completion()
    assert [choice.message.role for choice in answer.choices] == ["assistant"] * 2
    assert [choice.message.content for choice in answer.choices] == ["Hello, wörld"] * 2
    assert [choice.finish_reason for choice in answer.choices] == ["stop"] * 2
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 6


async def test_completions(sdk: AsyncOpenAI) -> None:
    answer = await sdk.completions.create(model=MODEL, prompt=["a", "b"])
    assert [choice.text for choice in answer.choices] == ["Hello, wörld"] * 2
    stream = await sdk.completions.create(model=MODEL, prompt="a", stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == "Hello, wörld"


async def test_the_synchronous_client(url: str) -> None:
    def talk() -> list[str | None]:
        with OpenAI(base_url=url, api_key="-") as client:
            answer = client.chat.completions.create(model=MODEL, messages=HELLO)
            chat = client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
            streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chat)
            text = client.completions.create(model=MODEL, prompt="a").choices[0].text
            texts = client.completions.create(model=MODEL, prompt="a", stream=True)
            pieces = "".join(chunk.choices[0].text for chunk in texts)
            return [answer.choices[0].message.content, streamed, text, pieces]

    assert await asyncio.to_thread(talk) == ["Hello, wörld"] * 4


async def test_errors_become_the_sdks_exceptions(api: Harness, sdk: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        await sdk.chat.completions.create(model="other", messages=HELLO)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as invalid:
        await sdk.chat.completions.create(model=MODEL, messages=HELLO, temperature=-1)
    assert invalid.value.param == "temperature"
    assert invalid.value.type == "invalid_request_error"
    api.worker.hold_after = 0
    with api.manager.lease(MODEL) as route:
        other = route.submit(Task([1], SamplingParams(max_tokens=1, seed=1)))
    with pytest.raises(openai.RateLimitError) as full:
        await sdk.chat.completions.create(model=MODEL, messages=HELLO, n=2, stream=True)
    other.abort()
    assert full.value.code == "queue_full"
    assert full.value.request_id is not None
    api.client.close("busy")
    with pytest.raises(openai.InternalServerError) as loading:
        await sdk.completions.create(model=MODEL, prompt="a")
    assert loading.value.code == "loading"


async def test_a_failure_during_a_stream_is_raised(api: Harness, sdk: AsyncOpenAI) -> None:
    api.worker.hold_after = 1
    stream = await sdk.chat.completions.create(model=MODEL, messages=HELLO, stream=True)

    async def read_on() -> None:
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                api.client.fail_all("worker 0 died")

    with pytest.raises(openai.APIError, match="worker 0 died") as failure:
        await read_on()
    assert failure.value.code == "engine_error"


async def test_leaving_a_stream_aborts_it(api: Harness, sdk: AsyncOpenAI) -> None:
    api.worker.hold_after = 1
    stream = await sdk.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    await stream.close()
    await api.worker.until(lambda: len(api.worker.aborted) == 1)
