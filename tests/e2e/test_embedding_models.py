"""An embedding model and its reranker, in bfloat16 as released, by the real server."""

import base64
import math
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from server.tokenizer.world import WorldTokenizer, load_world_vocabulary
from tests.e2e.server_process import ServerProcess, run_cli
from tests.model.embedding_models import (
    END,
    EmbeddingTwin,
    RerankerTwin,
    as_bfloat16,
    embedding_tensors,
    reranker_tensors,
    write_pth,
)
from tests.model.random_models import random_tensors, write_model

QUERY = "What did the dog find?"
TEXTS = ["It rains.", "The dog ran into the garden and found a ball. " * 9, "海\n", " "]
INSTRUCTION = "Instruct: Given a query, retrieve documents that answer the query"
NAME = "rwkv0b1-emb-curriculum"


class Files:
    def __init__(self, folder):
        model, reranker = embedding_tensors(), reranker_tensors(layers=2)
        self.model = write_pth(folder / f"{NAME}.pth", model, "bfloat16")
        entries = {"reranker_layer_idx": [0, 2]}
        self.reranker = write_pth(folder / "rwkv0b1-reranker.pth", reranker, "bfloat16", **entries)
        self.twin_tensors = as_bfloat16(model)
        self.reranker_twin = RerankerTwin(as_bfloat16(reranker), [0, 2])
        self.encode = WorldTokenizer(load_world_vocabulary()).encode

    def vector(self, ids, head="retrieval"):
        vector = EmbeddingTwin(self.twin_tensors).vector(ids, head)
        return vector / np.linalg.norm(vector)

    def score(self, text):
        twin = EmbeddingTwin(self.twin_tensors)
        twin.rwkv.hidden_states([*self.encode(text), END])
        return 1 / (1 + math.exp(-self.reranker_twin.logit(twin.rwkv.state)))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("embedding"))


@pytest.fixture(scope="module")
def server(files):
    with ServerProcess(str(files.model), "--reranker", str(files.reranker)) as process:
        yield process.wait_until_ready()


def embed(server, texts, **fields):
    body = {"input": texts, "encoding_format": "base64", **fields}
    reply = httpx.post(f"{server.url}/v1/embeddings", json=body, timeout=120)
    assert reply.status_code == 200, reply.text
    return reply.json()


def vectors(reply):
    return [np.frombuffer(base64.b64decode(each["embedding"]), "<f4") for each in reply["data"]]


def scores(server, query=QUERY, documents=TEXTS, **fields):
    body = {"query": query, "documents": documents, **fields}
    reply = httpx.post(f"{server.url}/v1/rerank", json=body, timeout=120)
    assert reply.status_code == 200, reply.text
    return {each["index"]: each["relevance_score"] for each in reply.json()["results"]}


def refusal(server, path, body):
    reply = httpx.post(f"{server.url}{path}", json=body, timeout=120)
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    message = error if isinstance(error, str) else error["message"]
    assert "\n" not in message
    return message


def test_vectors_are_the_models_own(server, files):
    reply = embed(server, TEXTS)
    ids = [[*files.encode(text), END] for text in TEXTS]
    assert reply["usage"]["prompt_tokens"] == sum(map(len, ids))
    for found, expected in zip(vectors(reply), map(files.vector, ids), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert embed(server, ids)["data"] == reply["data"]
    assert embed(server, [each[:-1] for each in ids])["data"] == reply["data"]
    several = [*ids[1][5:20], END, *ids[0]]
    (found,) = vectors(embed(server, [several]))
    np.testing.assert_allclose(found, files.vector(several), atol=1e-4)


HEAD_OF = {
    "retrieval.query": "retrieval",
    "similarity": "similarity",
    "text-matching": "similarity",
    "classification": "classification",
    "separation": "classification",
}


@pytest.mark.parametrize(("task", "head"), HEAD_OF.items())
def test_each_task_has_its_head(server, files, task, head):
    (found,) = vectors(embed(server, TEXTS[0], task=task))
    expected = files.vector([*files.encode(TEXTS[0]), END], head)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_dimensions_and_length(server):
    (whole,) = vectors(embed(server, TEXTS[0], normalize=False))
    assert abs(np.linalg.norm(whole) - 1) > 1
    (cut,) = vectors(embed(server, TEXTS[0], dimensions=32))
    np.testing.assert_allclose(cut, whole[:32] / np.linalg.norm(whole[:32]), rtol=1e-5)
    with server.client() as http:
        reply = http.post("/v1/embeddings", json={"input": TEXTS[0]}).json()
    assert reply["data"][0]["embedding"] == vectors(embed(server, TEXTS[0]))[0].tolist()


def test_the_same_bits_alone_together_and_at_once(server):
    texts = [f"{n}: " + "the fox, der Fuchs, キツネ. " * (1 + n * 7 % 23) for n in range(20)]
    together = [each["embedding"] for each in embed(server, texts)["data"]]
    with ThreadPoolExecutor(6) as threads:
        alone = list(threads.map(lambda text: embed(server, text)["data"][0]["embedding"], texts))
    assert alone == together


def test_scores_are_those_of_the_reranker(server, files):
    found = scores(server)
    for index, document in enumerate(TEXTS):
        text = f"{INSTRUCTION}\nDocument: {document}\nQuery: {QUERY}"
        assert found[index] == pytest.approx(files.score(text), abs=1e-4)
    body = {"queries": QUERY, "documents": TEXTS}
    with server.client() as http:
        reply = http.post("/v1/score", json=body).json()
    assert {each["index"]: each["score"] for each in reply["data"]} == found


def test_a_kept_document_changes_no_bit_and_is_not_read_again(server):
    documents = [text * 8 for text in TEXTS]
    cold = scores(server, documents=documents, no_cache=True)
    scores(server, "Who painted a picture?", documents)
    body = {"query": QUERY, "documents": documents}
    reply = httpx.post(f"{server.url}/v1/rerank", json=body, timeout=120).json()
    assert {each["index"]: each["relevance_score"] for each in reply["results"]} == cold
    assert reply["usage"]["prompt_tokens_details"]["cached_tokens"] > 100


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "stream": True}),
        ("/v1/completions", {"prompt": "Hi"}),
        ("/v1/completions", {"prompt": "Hi", "echo": True, "logprobs": 1, "max_tokens": 0}),
        ("/v1/responses", {"input": "Hi"}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}),
        ("/completion", {"prompt": "Hi"}),
        ("/api/generate", {"model": NAME, "prompt": "Hi"}),
        ("/api/chat", {"model": NAME, "messages": [{"role": "user", "content": "Hi"}]}),
    ],
)
def test_it_writes_no_text(server, path, body):
    said = f"model: {NAME} gives embeddings and has no head for text; use /v1/embeddings"
    assert said in refusal(server, path, {"model": NAME, **body})


def test_nothing_that_can_be_asked_makes_it_fail(server):
    """Every route that takes a body, with what texts are called anywhere."""
    (worker,) = server.workers()
    bodies = [
        {"prompt": "Hi", "max_tokens": 2, "logprobs": 1, "prompt_logprobs": 1},
        {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2, "stream": True},
        {"input": "Hi", "instructions": "Be kind.", "background": True},
        {"query": "Hi", "documents": ["a"], "choices": ["a"]},
        {"text_1": "a", "text_2": ["b"]},
        {"prompt": "Hi", "suffix": "x", "input_prefix": "a", "input_suffix": "b", "content": "a"},
        {"prompt": "Hi", "name": "a state", "response_format": {"type": "json_object"}},
    ]
    with server.client() as http:
        paths = http.get("/openapi.json").json()["paths"]
        routes = [path for path, methods in paths.items() if "post" in methods]
        routes = [path for path in routes if not path.startswith(("/v1/admin", "/v1/files"))]
        assert len(routes) > 25
        texts = []
        for path in routes:
            for body in bodies:
                reply = http.post(path.replace("{", "").replace("}", ""), json=body)
                assert reply.status_code < 500 or reply.status_code == 501, (path, reply.text)
                texts += [path] if reply.status_code == 200 else []
    assert {"/v1/embeddings", "/v1/rerank", "/v1/score", "/tokenize"} < set(texts)
    assert not {"/v1/chat/completions", "/v1/completions", "/v1/states"} & set(texts)
    assert server.workers() == [worker]
    assert scores(server)


def test_fields_that_it_does_not_take(server):
    body = {"input": "x", "pooling": "mean"}
    assert "has a pooling of its own" in refusal(server, "/v1/embeddings", body)
    body = {"input": "x", "task": "poetry"}
    assert "task: must be one of retrieval, " in refusal(server, "/v1/embeddings", body)
    body = {"input": "x", "dimensions": 129}
    assert "over the 128" in refusal(server, "/v1/embeddings", body)


def test_it_says_what_it_is(server, files):
    with server.client() as http:
        assert http.get("/v1/models").json()["data"][0]["type"] == "embedding"
        assert http.post("/api/show", json={"model": NAME}).json()["capabilities"] == ["embedding"]
        reply = http.post("/api/embed", json={"model": NAME, "input": TEXTS[0]}).json()
    np.testing.assert_allclose(
        reply["embeddings"][0], vectors(embed(server, TEXTS[0]))[0], rtol=1e-6
    )
    code, out, _ = run_cli("inspect", str(files.model))
    assert code == 0
    assert "RWKV-7 embedding model" in out
    assert "embed text" in out
    assert "chat template" not in out
    out = run_cli("inspect", str(files.reranker))[1]
    assert "rerank, beside its embedding model" in out
    assert "that of its embedding model" in out


def test_a_model_of_the_settings_with_and_without_its_reranker(files, tmp_path):
    config = tmp_path / "server.toml"
    config.write_text(
        f'[models.both]\npath = "{files.model}"\nreranker = "{files.reranker}"\n'
        f'[models.alone]\npath = "{files.model}"\n'
    )
    with ServerProcess("--config", str(config)) as server:
        server.wait_until_ready()
        found = scores(server, model="both")
        assert len(set(found.values())) == len(TEXTS)
        body = {"model": "alone", "query": QUERY, "documents": TEXTS}
        assert "serve it with --reranker FILE" in refusal(server, "/v1/rerank", body)
        both, alone = (embed(server, TEXTS, model=name)["data"] for name in ("both", "alone"))
        assert both == alone
        body = {"query": QUERY, "documents": TEXTS}  # a language model, as before
        assert httpx.post(f"{server.url}/v1/rerank", json=body, timeout=120).status_code == 200


def test_bad_pairs_end_with_a_line(files, tmp_path):
    language = write_model(tmp_path / "language.safetensors", random_tensors(layers=1))
    wide = write_pth(tmp_path / "wide.pth", reranker_tensors(dim=192))
    for arguments, said in [
        ([files.reranker], "a reranker, not a model: serve its embedding model with --reranker"),
        ([files.model, "--reranker", wide], "wide.pth: tensor blocks.0.att.r_k has shape [3, 64]"),
        ([files.model, "--reranker", files.model], "RWKV-7 embedding model, not a reranker"),
        ([language, "--tokenizer", "bytes", "--reranker", files.reranker], "leave out --reranker"),
        ([files.model, "--reranker", tmp_path / "none.pth"], "none.pth: no such file, named as"),
    ]:
        code, _, error = run_cli("serve", *map(str, arguments), "--port", "0")
        assert code == 2
        assert said in error.splitlines()[-1], error
        assert "Traceback" not in error
