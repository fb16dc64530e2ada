"""POST /v1/embeddings: inputs of every form, vectors in both formats, groups and refusals."""

import base64
import math
from typing import Any

import numpy as np
import pytest
from openai import AsyncOpenAI
from openai.types import CreateEmbeddingResponse

from server.api.vectors import vector_of
from server.protocol.cache_use import CacheUse
from tests.api.harness import MODEL, Harness, assert_error, serving
from tests.fake_text import FakeTokenizer
from tests.fakes import DIM, fake_embedding

pytestmark = pytest.mark.anyio

EMBEDDINGS = "/v1/embeddings"
IDS = FakeTokenizer().encode


def expected(ids: list[int], pooling: str = "mean") -> "np.ndarray[Any, Any]":
    """What the worker pooled, in full."""
    return np.frombuffer(fake_embedding(ids, pooling), "<f8")


def unit(values: Any) -> Any:
    return values / math.sqrt(math.fsum(v * v for v in values))


async def test_a_whole_answer_has_openais_shape() -> None:
    api = Harness()
    response = await api.post(EMBEDDINGS, model=MODEL, input="ab", user="somebody")
    assert response.status_code == 200
    body = response.json()
    CreateEmbeddingResponse.model_validate(body, strict=True)
    (item,) = body.pop("data")
    np.testing.assert_allclose(item.pop("embedding"), unit(expected(IDS("ab"))), rtol=1e-6)
    assert item == {"object": "embedding", "index": 0}
    assert body == {
        "object": "list",
        "model": MODEL,
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
    }


@pytest.mark.parametrize(
    ("given", "reached"),
    [
        ("ab", [IDS("ab")]),
        (["ab", "c"], [IDS("ab"), IDS("c")]),
        ([0, 256], [[0, 256]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
        (["é" * 9_000, "x" * 9_000], [IDS("é" * 9_000), IDS("x" * 9_000)]),  # in a thread
    ],
)
async def test_every_form_of_input(given: Any, reached: list[list[int]]) -> None:
    api = Harness()
    response = await api.post(EMBEDDINGS, input=given)
    assert response.status_code == 200
    assert [request.task.prompt_ids for request in api.worker.generated] == reached
    assert [item["index"] for item in response.json()["data"]] == [*range(len(reached))]
    assert response.json()["usage"]["total_tokens"] == sum(map(len, reached))


async def test_base64_is_the_same_float32() -> None:
    api = Harness()
    texts = {"input": ["ab", "c"], "dimensions": 3}
    numbers = (await api.post(EMBEDDINGS, **texts)).json()["data"]
    encoded = (await api.post(EMBEDDINGS, **texts, encoding_format="base64")).json()["data"]
    for number, item in zip(numbers, encoded, strict=True):
        found = np.frombuffer(base64.b64decode(item["embedding"]), "<f4")
        assert found.tolist() == number["embedding"]
        assert len(found) == 3


@pytest.mark.parametrize("dimensions", [1, 3, DIM])
@pytest.mark.parametrize("pooling", ["mean", "last"])
async def test_vectors_are_cut_and_then_normalised(dimensions: int, pooling: str) -> None:
    api = Harness()
    fields = {"input": "abc", "dimensions": dimensions, "pooling": pooling}
    plain = expected(IDS("abc"), pooling)[:dimensions]
    for normalize, vector in ((True, unit(plain)), (False, plain)):
        response = await api.post(EMBEDDINGS, **fields, normalize=normalize)
        found = response.json()["data"][0]["embedding"]
        assert found == [float(np.float32(x)) for x in vector]


def test_a_vector_of_zeros_stays_one() -> None:
    assert vector_of(np.zeros(4).tobytes(), None, True).tolist() == [0] * 4


async def test_what_reaches_the_engine() -> None:
    api = Harness()
    await api.post(EMBEDDINGS, input="ab")
    await api.post(EMBEDDINGS, input="ab", pooling="last", priority=3)
    await api.post(EMBEDDINGS, input="ab", pooling="last", no_cache=True)
    tasks = [request.task for request in api.worker.generated]
    assert [task.pooling for task in tasks] == ["mean", "last", "last"]
    cold = CacheUse(reads=False, writes=False)
    assert [task.use for task in tasks] == [cold, CacheUse(writes=False), cold]
    assert [task.priority for task in tasks] == [0, 3, 0]
    assert {task.params.max_tokens for task in tasks} == {0}


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({}, "input", "missing_required_parameter"),
        ({"input": ""}, "input", "invalid_value"),
        ({"input": []}, "input", "invalid_value"),
        ({"input": ["a", ""]}, "input", "invalid_value"),
        ({"input": [[1], []]}, "input", "invalid_value"),
        ({"input": ["a", 1]}, "input", "invalid_value"),
        ({"input": {"a": 1}}, "input", "invalid_value"),
        ({"input": [True]}, "input", "invalid_value"),
        ({"input": [257]}, "input", "invalid_value"),
        ({"input": [-1]}, "input", "invalid_value"),
        ({"input": ["a"] * 2049}, "input", "invalid_value"),
        ({"input": "a", "dimensions": 0}, "dimensions", "invalid_value"),
        ({"input": "a", "dimensions": DIM + 1}, "dimensions", "invalid_value"),
        ({"input": "a", "dimensions": True}, "dimensions", "invalid_value"),
        ({"input": "a", "pooling": "max"}, "pooling", "invalid_value"),
        ({"input": "a", "pooling": ""}, "pooling", "invalid_value"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format", "invalid_value"),
        ({"input": "a", "normalize": "yes"}, "normalize", "invalid_value"),
        (
            {"input": "a", "truncate_prompt_tokens": 5},
            "truncate_prompt_tokens",
            "unsupported_parameter",
        ),
        ({"input": "a", "embed_dtype": "float16"}, "embed_dtype", "unsupported_parameter"),
    ],
)
async def test_refusals_name_the_field(fields: dict[str, Any], param: str, code: str) -> None:
    api = Harness()
    error = assert_error(await api.post(EMBEDDINGS, **fields), 400, code)
    assert error["param"] == param
    assert not api.worker.generated


async def test_half_a_surrogate_pair_is_refused() -> None:
    response = await Harness().post_bytes(EMBEDDINGS, rb'{"input": ["a", "\ud800"]}')
    assert assert_error(response, 400, "invalid_value")["param"] == "input"


async def test_an_input_over_the_operators_cap() -> None:
    api = Harness({"limits": {"max_prompt_tokens": 3}})
    response = await api.post(EMBEDDINGS, input=["abc", "abcd"])
    assert assert_error(response, 400, "context_length_exceeded")["param"] == "input"


async def test_many_inputs_run_in_groups_and_are_answered_in_order() -> None:
    api = Harness({"limits": {"max_choices": 4, "max_requests": 5}})
    most = 0
    submit = api.client.submit_admitted

    def counted(*arguments: Any) -> Any:
        nonlocal most
        stream = submit(*arguments)
        most = max(most, api.client.active_requests)
        return stream

    api.client.submit_admitted = counted  # type: ignore[method-assign]
    texts = [chr(97 + number % 26) * (1 + number % 7) for number in range(50)]
    response = await api.post(EMBEDDINGS, input=texts, normalize=False)
    assert response.status_code == 200
    assert most == 4
    found = [item["embedding"] for item in response.json()["data"]]
    assert found == [expected(IDS(text)).astype(np.float32).tolist() for text in texts]
    assert api.client.active_requests == 0


async def test_a_failure_in_a_later_group_fails_the_whole() -> None:
    api = Harness({"limits": {"max_choices": 2}})
    submit = api.client.submit_admitted
    left = 3

    def failing(*arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if not left:
            api.client.close("the worker is gone")
        return submit(*arguments)

    api.client.submit_admitted = failing  # type: ignore[method-assign]
    response = await api.post(EMBEDDINGS, input=["a"] * 20)
    assert_error(response, 503, "loading")
    assert api.client.active_requests == 0


async def test_an_engine_that_fails_is_an_error() -> None:
    api = Harness(finish="error", error="the model computed no finite hidden states")
    error = assert_error(await api.post(EMBEDDINGS, input="a"), 500, "engine_error")
    assert "no finite hidden states" in error["message"]


async def test_the_metrics_call_it_embeddings() -> None:
    api = Harness()
    await api.post(EMBEDDINGS, input=["ab", "c"])
    async with api.http() as http:
        text = (await http.get("/metrics")).text
    assert 'vllm:prompt_tokens_total{model_name="org/tiny"} 3.0' in text
    assert 'gen_ai_operation_name="embeddings"' in text


async def test_the_sdk_asks_for_base64_and_gives_numbers() -> None:
    api = Harness()
    async with (
        serving(api.app) as url,
        AsyncOpenAI(base_url=f"{url}/v1", api_key="-", max_retries=0) as sdk,
    ):
        default = await sdk.embeddings.create(model=MODEL, input=["ab", "c"])
        numbers = await sdk.embeddings.create(
            model=MODEL, input=["ab", "c"], encoding_format="float"
        )
        ids = await sdk.embeddings.create(
            model=MODEL, input=[IDS("ab"), IDS("c")], dimensions=DIM, extra_body={"pooling": "last"}
        )
    assert default.model_dump() == numbers.model_dump()
    assert len(default.data[0].embedding) == DIM
    assert default.usage.prompt_tokens == default.usage.total_tokens == 3
    assert ids.data[1].embedding == default.data[1].embedding  # of one token
    assert ids.data[0].embedding != default.data[0].embedding
