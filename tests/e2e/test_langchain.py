"""LangChain's classes for OpenAI, pointed at the server."""

import pytest
from pydantic import BaseModel, Field

MODEL = "rwkv-embedded"


class Dog(BaseModel):
    """A dog."""

    name: str = Field(max_length=10)
    age: int = Field(ge=0, le=20)


class Weather(BaseModel):
    """Tell the weather."""

    city: str = Field(max_length=10)


@pytest.fixture
def make(server):
    """One of LangChain's classes, for the server."""
    langchain = pytest.importorskip("langchain_openai", reason="pip install langchain-openai")
    given = {"base_url": f"{server.url}/v1", "api_key": "none", "model": MODEL}
    return lambda name, **fields: getattr(langchain, name)(**given, **fields)


def joined(chunks):
    whole, *others = chunks
    for chunk in others:
        whole += chunk
    return whole


@pytest.mark.parametrize("is_response", [False, True])
def test_a_stream_is_the_answer_with_its_usage(make, is_response):
    chat = make("ChatOpenAI", temperature=0, stream_usage=True, use_responses_api=is_response)
    whole, streamed = chat.invoke("Who are you?"), joined(chat.stream("Who are you?"))
    assert "RWKV" in whole.text
    assert streamed.text == whole.text
    for name in ("input_tokens", "output_tokens", "total_tokens"):
        assert streamed.usage_metadata[name] == whole.usage_metadata[name] > 0


@pytest.mark.parametrize(
    ("is_response", "method"),
    [(False, "json_schema"), (False, "function_calling"), (True, "json_schema")],
)
def test_an_answer_is_a_model_of_pydantic(make, is_response, method):
    chat = make("ChatOpenAI", temperature=0, use_responses_api=is_response)
    dog = chat.with_structured_output(Dog, method=method).invoke("A dog, please.")
    assert isinstance(dog, Dog)


def test_tools_are_called_and_answer(make):
    messages = pytest.importorskip("langchain_core.messages")
    chat = make("ChatOpenAI", temperature=0, max_tokens=200)
    forced = chat.bind_tools([Weather], tool_choice="Weather")
    asked = [messages.HumanMessage("Is it dry in Rome?")]
    called = forced.invoke(asked)
    (call,) = called.tool_calls
    assert (call["name"], list(call["args"])) == ("Weather", ["city"])
    assert joined(forced.stream(asked)).tool_calls[0]["args"] == call["args"]
    result = messages.ToolMessage("dry", tool_call_id=call["id"])
    assert chat.bind_tools([Weather]).invoke([*asked, called, result]).text


def test_completions_and_embeddings(make):
    text = make("OpenAI", max_tokens=5, temperature=0)
    assert "".join(text.stream("Once")) == text.invoke("Once") != ""
    vectors = make("OpenAIEmbeddings", check_embedding_ctx_length=False)
    first, second = vectors.embed_documents(["a dog", "a cat"])
    assert first == vectors.embed_query("a dog") != second
