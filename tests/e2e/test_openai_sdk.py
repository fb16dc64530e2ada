"""The real server, driven by the real SDK."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

MODEL = "rwkv-embedded"
QUESTION = [{"role": "user", "content": "Tell me a story about a dog."}]


@pytest.fixture
def client(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60)


def chat(client, seed=1, **changes):
    arguments = {"model": MODEL, "messages": QUESTION, "max_tokens": 40, "seed": seed, **changes}
    return client.chat.completions.create(**arguments)


def streamed_text(stream):
    return "".join(c.choices[0].delta.content or "" for c in stream if c.choices)


def test_chat_answers_in_words(client):
    answer = chat(client, temperature=0)
    assert answer.object == "chat.completion"
    assert answer.model == MODEL
    assert answer.choices[0].message.role == "assistant"
    words = answer.choices[0].message.content.split()
    assert len(words) >= 3
    assert sum(word.strip(".,!?\"'").isalpha() for word in words) > len(words) / 2
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.choices[0].finish_reason in ("stop", "length")


def test_the_embedded_model_knows_its_name(client):
    question = [{"role": "user", "content": "Who are you?"}]
    answer = chat(client, messages=question, temperature=0)
    assert "RWKV" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"


def test_streamed_and_whole_are_the_same(client):
    whole = chat(client)
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
    assert streamed_text(chunks) == whole.choices[0].message.content
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert [c.choices[0].delta.role for c in chunks if c.choices].count("assistant") == 1
    assert chunks[-1].usage == whole.usage
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason


def test_the_helper_that_accumulates_a_stream(client):
    # The helper raises for an answer that ended by length: end it with the first sentence.
    limits = {"max_tokens": 400, "stop": ["."], "temperature": 0}
    arguments = {"model": MODEL, "messages": QUESTION, **limits}
    with client.chat.completions.stream(**arguments) as stream:
        final = stream.get_final_completion()
    expected = client.chat.completions.create(**arguments)
    assert final.choices[0].message.content == expected.choices[0].message.content


def test_completions_with_text_ids_and_several_prompts(client):
    arguments = {"model": MODEL, "max_tokens": 12, "temperature": 0}
    single = client.completions.create(prompt="Once upon a time", **arguments)
    assert single.object == "text_completion"
    both = client.completions.create(prompt=["The sun is", "Once upon a time"], **arguments)
    assert both.choices[1].text == single.choices[0].text
    stream = client.completions.create(prompt="Once upon a time", stream=True, **arguments)
    assert "".join(chunk.choices[0].text for chunk in stream) == single.choices[0].text
    ids = client.completions.create(prompt=[5, 6, 7], **arguments)
    assert ids.usage.prompt_tokens == 3


def test_stop_strings_end_the_text(client):
    arguments = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": 60, "temperature": 0}
    text = client.completions.create(**arguments).choices[0].text
    stop = text.split()[4]
    cut = client.completions.create(**arguments, stop=[stop])
    assert cut.choices[0].finish_reason == "stop"
    assert cut.choices[0].text == text[: text.index(stop)]


def test_the_same_seed_gives_the_same_bytes_alone_and_under_load(client):
    seeds = list(range(12))
    alone = [chat(client, seed).choices[0].message.content for seed in seeds]
    assert len(set(alone)) > 6
    with ThreadPoolExecutor(len(seeds)) as threads:
        stream = threads.map(lambda seed: streamed_text(chat(client, seed, stream=True)), seeds)
        assert list(stream) == alone


def test_choices_are_those_of_consecutive_seeds(client):
    several = chat(client, 20, n=3)
    assert [choice.index for choice in several.choices] == [0, 1, 2]
    for i, choice in enumerate(several.choices):
        assert choice.message.content == chat(client, 20 + i).choices[0].message.content


def test_async_client(server):
    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            stream = await client.chat.completions.create(
                model=MODEL, messages=QUESTION, max_tokens=10, seed=3, stream=True
            )
            return "".join([c.choices[0].delta.content or "" async for c in stream])

    assert asyncio.run(ask()).strip()


def test_models_and_errors(client):
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).owned_by
    with pytest.raises(openai.NotFoundError) as caught:
        chat(client, model="gpt-4o")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, max_tokens=10**9)
    assert caught.value.param == "max_tokens"
    with pytest.raises(openai.BadRequestError):
        client.completions.create(model=MODEL, prompt="a", extra_body={"stop_regex": "x"})
    begun = client.completions.create(model=MODEL, prompt="", max_tokens=3)
    assert begun.usage.prompt_tokens == 1  # the token between documents
