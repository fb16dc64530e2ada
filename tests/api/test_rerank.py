"""/v1/rerank and /v1/score: forms, order, what the engine is asked for, and refusals."""

import math
from typing import Any

import pytest

from server.api.plan import MOST_PROMPT_LOGPROBS
from server.protocol.cache_use import CacheUse
from server.protocol.task import Task
from tests.api.harness import MODEL, Harness, assert_error
from tests.api.scoring_worker import logprobs_of, scoring
from tests.fake_text import FakeTokenizer

pytestmark = pytest.mark.anyio

RERANK = "/v1/rerank"
IDS = FakeTokenizer().encode
DOCUMENTS = ["one", "two is long", "é", "one"]


def server(**sections: Any) -> Harness:
    """An API whose worker generates nothing."""
    return scoring(lambda _: [], **sections)


def parts(query: str, document: str) -> tuple[list[int], list[int]]:
    return IDS(f"Document: {document}\n\nQuery:"), IDS(f" {query}")


def expected(query: str, document: str) -> float:
    """From what the worker says of each token of the query."""
    beginning, ids = parts(query, document)
    places = enumerate(ids, len(beginning))
    found = [logprobs_of(token, place, 0).logprob for place, token in places]
    return math.exp(sum(found) / len(found))


@pytest.mark.parametrize("path", ["/rerank", RERANK, "/v2/rerank"])
async def test_documents_are_sorted_and_equals_keep_their_order(path: str) -> None:
    documents = [DOCUMENTS[0], {"text": DOCUMENTS[1], "id": 7}, *DOCUMENTS[2:]]
    response = await server().post(path, model=MODEL, query="q?", documents=documents)
    assert response.status_code == 200, response.text
    body = response.json()
    scores = [expected("q?", text) for text in DOCUMENTS]
    order = sorted(range(4), key=lambda index: -scores[index])
    assert order.index(0) < order.index(3)
    assert body.pop("id").startswith("rerank-")
    results = body.pop("results")
    assert [each.pop("index") for each in results] == order
    assert [each.pop("relevance_score") for each in results] == pytest.approx(
        [scores[index] for index in order]
    )
    assert results == [{}] * 4
    tokens = sum(len(a) + len(b) for a, b in (parts("q?", text) for text in DOCUMENTS))
    details = {"cached_tokens": 0, "cache_write_tokens": 0}
    usage = {"prompt_tokens": tokens, "total_tokens": tokens, "prompt_tokens_details": details}
    assert body == {"object": "list", "model": MODEL, "usage": usage}


async def test_the_best_ones_with_their_texts() -> None:
    fields = {"query": "q", "documents": DOCUMENTS}
    whole = (await server().post(RERANK, **fields)).json()["results"]
    best = await server().post(RERANK, **fields, top_n=2, return_documents=True)
    shown = [{**each, "document": {"text": DOCUMENTS[each["index"]]}} for each in whole]
    assert best.json()["results"] == shown[:2]
    more = await server().post(RERANK, **fields, top_n=9)
    assert more.json()["results"] == whole


async def test_what_reaches_the_engine() -> None:
    api = server()
    tasks: list[Task] = []
    submit = api.client.submit
    api.client.submit = lambda task, *more: tasks.append(task) or submit(task, *more)  # type: ignore
    body = {"query": "ab", "documents": ["cd"]}
    await api.post(RERANK, **body, priority=3)
    await api.post(RERANK, **body, no_cache=True)
    await api.post(RERANK, **body, prompt_cache_options={"mode": "explicit"})
    beginning, query = parts("ab", "cd")
    assert [task.prompt_ids for task in tasks] == [beginning + query] * 3
    at_end: Any = {len(beginning) - 1: "message"}
    cold = CacheUse(reads=False, writes=False, boundaries=at_end, implicit=False)
    assert [task.use for task in tasks[:2]] == [
        CacheUse(boundaries=at_end, implicit=False),
        cold,
    ]
    assert tasks[2].use == CacheUse(reads=False, writes=False, implicit=False)
    assert [task.priority for task in tasks] == [3, 0, 0]
    for task in tasks:
        assert (task.params.max_tokens, task.params.prompt_logprobs) == (0, 0)
        assert task.params.prompt_logprobs_from == len(beginning)


async def test_a_document_is_cut_at_a_whole_character() -> None:
    fields = {"query": "q", "documents": ["éé", "a"], "max_tokens_per_doc": 3}
    found = (await server().post(RERANK, **fields, return_documents=True)).json()["results"]
    texts = {each["index"]: each["document"]["text"] for each in found}
    assert texts == {0: "é", 1: "a"}
    assert {each["index"]: each["relevance_score"] for each in found} == pytest.approx(
        {0: expected("q", "é"), 1: expected("q", "a")}
    )


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
async def test_score_takes_one_query_or_pairs(path: str) -> None:
    one = await server().post(path, text_1="q", text_2=["a", "bc"])
    assert one.status_code == 200, one.text
    body = one.json()
    assert body["object"] == "list"
    assert [(each["index"], each["object"]) for each in body["data"]] == [
        (0, "score"),
        (1, "score"),
    ]
    found = [each["score"] for each in body["data"]]
    assert found == pytest.approx([expected("q", "a"), expected("q", "bc")])
    pairs = (await server().post(path, text_1=["q", "long"], text_2=["a", "bc"])).json()
    found = [each["score"] for each in pairs["data"]]
    assert found == pytest.approx([expected("q", "a"), expected("long", "bc")])


async def test_many_documents_run_in_groups() -> None:
    api = server(limits={"max_choices": 4, "max_requests": 5})
    documents = ["x" * (number % 9) for number in range(100)]
    response = await api.post(RERANK, query="q", documents=documents)
    assert response.status_code == 200
    assert sorted(each["index"] for each in response.json()["results"]) == [*range(100)]
    assert api.client.active_requests == 0


async def test_the_metrics_call_it_rerank() -> None:
    api = server()
    await api.post(RERANK, query="q", documents=["a"])
    async with api.http() as http:
        assert 'gen_ai_operation_name="rerank"' in (await http.get("/metrics")).text


@pytest.mark.parametrize(
    ("path", "fields", "param", "code"),
    [
        (RERANK, {"query": None}, "query", "missing_required_parameter"),
        (RERANK, {"query": ""}, "query", "invalid_value"),
        (RERANK, {"documents": None}, "documents", "missing_required_parameter"),
        (RERANK, {"documents": []}, "documents", "invalid_value"),
        (RERANK, {"documents": "a"}, "documents", "invalid_value"),
        (RERANK, {"documents": ["a"] * 1001}, "documents", "invalid_value"),
        (RERANK, {"documents": ["a", 1]}, "documents[1]", "invalid_value"),
        (RERANK, {"documents": ["a", {"image": "x"}]}, "documents[1]", "invalid_value"),
        (RERANK, {"top_n": 0}, "top_n", "invalid_value"),
        (RERANK, {"max_tokens_per_doc": -1}, "max_tokens_per_doc", "invalid_value"),
        (RERANK, {"max_tokens_per_doc": 1.5}, "max_tokens_per_doc", "invalid_value"),
        (RERANK, {"rank_fields": ["title"]}, "rank_fields", "unsupported_parameter"),
        (RERANK, {"max_chunks_per_doc": 2}, "max_chunks_per_doc", "unsupported_parameter"),
        ("/score", {"text_2": []}, "text_2", "invalid_value"),
        ("/score", {"text_1": ["a", "b"]}, "text_1", "invalid_value"),
        ("/score", {"text_1": ""}, "text_1", "invalid_value"),
        ("/score", {"text_1": None}, "text_1", "missing_required_parameter"),
        ("/score", {"text_1": None, "queries": ""}, "queries", "invalid_value"),
        ("/score", {"text_1": None, "queries": ["a", "b"]}, "queries", "invalid_value"),
        ("/score", {"text_2": None, "documents": []}, "documents", "invalid_value"),
        ("/score", {"text_2": None, "items": 5}, "items", "invalid_value"),
        ("/score", {"documents": ["other"]}, "documents", "invalid_value"),
        ("/score", {"queries": "other"}, "queries", "invalid_value"),
        ("/score", {"label_token_ids": [1]}, "label_token_ids", "unsupported_parameter"),
    ],
)
async def test_refusals_name_the_field(
    path: str, fields: dict[str, Any], param: str, code: str
) -> None:
    api = server()
    score = {"text_1": "a", "text_2": ["a", "b", "c"]}
    body = (score if path == "/score" else {"query": "q", "documents": ["a"]}) | fields
    assert assert_error(await api.post(path, **body), 400, code)["param"] == param


async def test_half_a_surrogate_pair_is_refused() -> None:
    body = rb'{"query": "q", "documents": ["a", "\ud800"]}'
    response = await server().post_bytes(RERANK, body)
    assert assert_error(response, 400, "invalid_value")["param"] == "documents[1]"


async def test_limits_name_what_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    api = server(limits={"max_prompt_tokens": 30})
    response = await api.post(RERANK, query="q", documents=["a", "b" * 30])
    assert assert_error(response, 400, "context_length_exceeded")["param"] == "documents[1]"
    monkeypatch.setattr("server.api.relevance.MOST_LOGPROBS", 5)
    response = await server().post(RERANK, query="qq", documents=["a", "b"])
    assert assert_error(response, 400, "invalid_value")["param"] == "query"


@pytest.mark.parametrize("first", ["text_1", "queries", "data_1"])
@pytest.mark.parametrize("second", ["text_2", "documents", "data_2", "items"])
async def test_a_score_has_the_names_of_all_its_clients(first: str, second: str) -> None:
    bodies: list[dict[str, Any]] = [
        {first: "q", second: ["a", "bc"]},
        {first: ["q", "r"], second: ["a", "bc"]},
        {first: "q", second: "a"},
    ]
    for body in bodies:
        plain = {"text_1": body[first], "text_2": body[second]}
        found = [await server().post("/v1/score", **each) for each in (body, plain)]
        assert [each.status_code for each in found] == [200, 200], found[0].text
        assert found[0].json()["data"] == found[1].json()["data"]


async def test_no_tokens_for_a_document_mean_all_of_them() -> None:
    body = {"query": "q", "documents": ["abc", "de"]}
    found = [
        (await server().post(RERANK, **body, **fields)).json()["results"]
        for fields in ({}, {"max_tokens_per_doc": 0}, {"max_tokens_per_doc": 0.0})
    ]
    assert found[0] == found[1] == found[2]


async def test_a_query_of_too_many_tokens_is_refused() -> None:
    api = Harness()
    body = {"query": "x" * MOST_PROMPT_LOGPROBS, "documents": ["a"]}  # a blank comes before it
    error = assert_error(await api.post("/v1/rerank", **body), 400, "invalid_value")
    assert error["param"] == "query"
    assert "must have at most 65536 tokens (got 65537)" in error["message"]
    assert api.worker.generated == []
