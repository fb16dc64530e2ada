"""Embeddings and token routes of the real server: the same bits alone, together, after a crash."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import openai
import pytest

from tests.e2e.server_process import ServerProcess

TEXTS = [f"Number {n}: " + "the fox, der Fuchs, キツネ. " * (1 + n * 7 % 23) for n in range(40)]


def embed(url, texts, **fields):
    """The vectors in base64."""
    body = {"input": texts, "encoding_format": "base64", **fields}
    answer = httpx.post(f"{url}/v1/embeddings", json=body, timeout=120)
    assert answer.status_code == 200, answer.text
    return [item["embedding"] for item in answer.json()["data"]]


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_a_text_has_the_same_bits_alone_together_and_beside_others(server, pooling):
    alone = [embed(server.url, text, pooling=pooling)[0] for text in TEXTS]
    assert len(set(alone)) == len(TEXTS)
    assert embed(server.url, TEXTS, pooling=pooling) == alone
    endless = {"prompt": TEXTS[5], "max_tokens": 2000, "ignore_eos": True, "stream": True}
    with server.streaming(endless), ThreadPoolExecutor(4) as threads:
        parts = threads.map(lambda n: embed(server.url, TEXTS[n::4], pooling=pooling), range(4))
        assert [list(part) for part in parts] == [alone[n::4] for n in range(4)]


def test_a_cached_beginning_changes_no_bit_of_the_last(server):
    text = TEXTS[22]
    cold = embed(server.url, text, pooling="last", no_cache=True)
    with server.client() as http:
        http.post("/v1/completions", json={"prompt": text, "max_tokens": 1})
        assert embed(server.url, text, pooling="last") == cold


def test_the_sdk(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        found = client.embeddings.create(model="rwkv-embedded", input=TEXTS[:3], dimensions=64)
        whole = client.embeddings.create(
            model="rwkv-embedded", input=TEXTS[0], encoding_format="float"
        )
    assert [len(item.embedding) for item in found.data] == [64] * 3
    assert [np.linalg.norm(item.embedding) for item in found.data] == pytest.approx([1] * 3)
    cut = np.array(whole.data[0].embedding)[:64]
    np.testing.assert_allclose(found.data[0].embedding, cut / np.linalg.norm(cut), rtol=1e-5)


def test_ids_from_tokenize_are_those_of_the_prompt(server):
    text = TEXTS[3]
    with server.client() as http:
        info = http.get("/tokenizer_info").json()
        ids = http.post("/tokenize", json={"prompt": text, "add_special_tokens": False}).json()
        end = http.post("/tokenize", json={"prompt": info["eos_token"]}).json()
        assert end["tokens"] == [info["eos_token_id"]]
        assert http.post("/detokenize", json={"tokens": ids["tokens"]}).json()["prompt"] == text
        usage = http.post("/v1/embeddings", json={"input": text}).json()["usage"]
    assert usage["prompt_tokens"] == ids["count"]
    assert embed(server.url, ids["tokens"]) == embed(server.url, text)


@pytest.mark.slow
def test_a_worker_that_dies_changes_no_bit():
    texts = [text * 4 for text in TEXTS]
    with ServerProcess("--threads", "1") as server, ThreadPoolExecutor(1) as threads:
        server.wait_until_ready()
        expected = embed(server.url, texts)
        (worker,) = server.workers()
        answer = threads.submit(embed, server.url, texts)
        with server.client() as http:
            while not http.get("/health").json()["active_requests"]:
                assert not answer.done()
        worker.kill()
        assert not answer.done()
        assert answer.result() == expected
        (again,) = server.workers()
        assert again.pid != worker.pid
