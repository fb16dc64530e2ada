"""Fill in the middle with a real model whose file is named as G1c, in a real server."""

import json

import pytest

from tests.e2e.server_process import ServerProcess
from tests.model.random_models import random_tensors, write_model

PREFIX = "def first(a, b):\n    return a\n\n\n" * 12 + "def second(a, b):\n    re"
SUFFIX = "\n\n\nprint(second(1, 2))\n" * 8


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "rwkv7-g1c-0.1b-20251231-ctx8192.safetensors"
    write_model(path, random_tensors(1, 64, 256, 64, 1, "rwkv7"))
    with ServerProcess(str(path)) as process:
        yield process.wait_until_ready()


def ask(server, path="/v1/completions", **body):
    fields = {"max_tokens": 8, "seed": 1} | body
    with server.client() as client:
        response = client.post(path, json=fields)
    assert response.status_code == 200, response.text
    return response


def test_a_suffix_is_the_prompt_that_it_stands_for(server):
    filled = ask(server, prompt=PREFIX, suffix=SUFFIX, no_cache=True).json()
    written = f"✿prefix✿✿suffix✿{SUFFIX}✿middle✿{PREFIX}"
    plain = ask(server, prompt=written, no_cache=True).json()
    assert filled["choices"] == plain["choices"]
    assert filled["usage"]["prompt_tokens"] == plain["usage"]["prompt_tokens"]
    streamed = ask(server, prompt=PREFIX, suffix=SUFFIX, stream=True).text
    chunks = [json.loads(event[6:]) for event in streamed.split("\n\n")[:-2]]
    text = "".join(chunk["choices"][0]["text"] for chunk in chunks)
    assert text == filled["choices"][0]["text"]


def test_who_types_on_pays_for_the_line(server):
    said = []
    for typed in ("", "t", "turn", "turn b"):
        body = {"prompt": PREFIX + typed, "suffix": SUFFIX}
        warm = ask(server, **body).json()
        cold = ask(server, **body, no_cache=True).json()
        assert warm["choices"] == cold["choices"]
        usage = warm["usage"]
        said.append(usage["prompt_tokens"] - usage["prompt_tokens_details"]["cached_tokens"])
    # A line so far, and what is too little for a state of its own; the model's tokens are bytes.
    assert all(count <= 64 for count in said[1:]), said


def test_infill_is_the_same_after_its_context(server):
    extra = [{"filename": "a.py", "text": "x = 1\n" * 40}]
    warmed = {"input_prefix": "", "input_suffix": "", "input_extra": extra, "n_predict": 0}
    ask(server, "/infill", **warmed, max_tokens=None)
    lines = PREFIX.rpartition("\n")
    body = {"input_prefix": lines[0] + "\n", "prompt": lines[2], "input_suffix": SUFFIX}
    answer = ask(server, "/infill", **body, input_extra=extra, n_predict=8, max_tokens=None).json()
    context = "\n\n--- a.py ---\n\n" + extra[0]["text"]
    assert answer["tokens_cached"] == len(context)
    written = f"{context}✿prefix✿✿suffix✿{SUFFIX}✿middle✿{PREFIX}"
    plain = ask(server, prompt=written, no_cache=True).json()
    assert answer["content"] == plain["choices"][0]["text"]
    assert answer["tokens_evaluated"] == plain["usage"]["prompt_tokens"]


def test_the_server_says_that_it_can(server):
    with server.client() as client:
        assert client.get("/props").json()["fill_in_middle"] is True
        model = client.get("/v1/models").json()["data"][0]["id"]
        assert "insert" in client.post("/api/show", json={"model": model}).json()["capabilities"]
