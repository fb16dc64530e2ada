"""Reranking by the real server: true scores; alone, together, cached, after a crash."""

import math
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.e2e.server_process import ServerProcess
from tests.e2e.test_logprobs import Scorer

QUERY = "What did the dog find in the garden?"
DOCUMENTS = [
    "Tom went to the sea with his mom. They saw a big boat, and the sun was hot. " * 2,
    "The dog ran into the garden. Under a tree the dog found a red ball. " * 2,
    "Lily likes to paint. She made a picture of the moon for her grandma.",
    "海",
]


def rank(url, query=QUERY, documents=DOCUMENTS, **fields):
    """The answer."""
    body = {"query": query, "documents": documents, **fields}
    answer = httpx.post(f"{url}/v1/rerank", json=body, timeout=120)
    assert answer.status_code == 200, answer.text
    return answer.json()


def scores(answer):
    """By the index of the document."""
    return {each["index"]: each["relevance_score"] for each in answer["results"]}


def test_scores_are_those_of_the_logits_and_rank_sensibly(server):
    answer = rank(server.url)
    scorer, expected, tokens = Scorer(), {}, 0
    for index, document in enumerate(DOCUMENTS):
        beginning = scorer.tokenizer.encode(f"Document: {document}\n\nQuery:")
        query = scorer.tokenizer.encode(f" {QUERY}")
        rows = scorer.logprobs(beginning + query)[len(beginning) - 1 : -1]
        mean = rows[range(len(query)), query].mean()
        expected[index] = math.exp(mean)
        tokens += len(beginning + query)
    assert scores(answer) == pytest.approx(expected, rel=1e-5)
    assert [each["index"] for each in answer["results"]] == sorted(expected, key=expected.get)[::-1]
    assert answer["results"][0]["index"] == 1
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] == tokens


def test_scores_are_the_same_alone_together_cached_and_under_load(server):
    cold = scores(rank(server.url, no_cache=True))
    assert len(set(cold.values())) == len(DOCUMENTS)
    for index, document in enumerate(DOCUMENTS):
        alone = rank(server.url, documents=[document], no_cache=True)
        assert scores(alone) == {0: cold[index]}
    other = rank(server.url, "Who painted a picture?", cache_salt="of this test")
    again = rank(server.url, cache_salt="of this test")
    assert scores(again) == cold
    assert other["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    cached = again["usage"]["prompt_tokens_details"]["cached_tokens"]
    with server.client() as http:
        for document in DOCUMENTS[:2]:  # the long ones
            text = f"Document: {document}\n\nQuery:"
            cached -= http.post("/tokenize", json={"prompt": text}).json()["count"] - 1
    assert cached >= 0
    endless = {"prompt": "Once", "max_tokens": 2000, "ignore_eos": True, "stream": True}
    with server.streaming(endless), ThreadPoolExecutor(4) as threads:
        many = threads.map(lambda _: scores(rank(server.url)), range(4))
        assert all(each == cold for each in many)


def test_score_is_rerank_in_other_words(server):
    body = {"text_1": QUERY, "text_2": DOCUMENTS}
    with server.client() as http:
        found = http.post("/v1/score", json=body).json()["data"]
    assert {each["index"]: each["score"] for each in found} == scores(rank(server.url))


@pytest.mark.slow
def test_a_worker_that_dies_and_a_restart_change_no_score(tmp_path):
    documents = [f"Chapter {n}. " + "The dog ran into the garden. " * 100 for n in range(12)]
    folder = {"RWKV_SERVER_CACHE_DIRECTORY": str(tmp_path)}
    with ServerProcess("--threads", "1", **folder) as server, ThreadPoolExecutor(1) as threads:
        server.wait_until_ready()
        expected = scores(rank(server.url, documents=documents, no_cache=True))
        (worker,) = server.workers()
        answer = threads.submit(rank, server.url, documents=documents)
        with server.client() as http:
            while not http.get("/health").json()["active_requests"]:
                assert not answer.done()
        worker.kill()
        assert scores(answer.result()) == expected
        (again,) = server.workers()
        assert again.pid != worker.pid
    with ServerProcess("--threads", "1", **folder) as server:
        server.wait_until_ready()
        answer = rank(server.url, documents=documents)
        assert scores(answer) == expected
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
