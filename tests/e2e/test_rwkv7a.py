"""RWKV-7a in a real server: whatever is taken from a cache or a state, the bytes are the same."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.reader import open_checkpoint
from server.model.config import read_config
from tests.e2e.server_process import ServerProcess, run_cli
from tests.model.random_models import random_tensors, write_model

LAYERS, DIM, HEAD = 2, 128, 64
STORY = "Once upon a time there was a lighthouse on a rock far from the coast. " * 4
REST = "An old man lived there with his dog."
HOW = {"temperature": 1, "top_p": 1, "seed": 7, "max_tokens": 12}


def write_state(path, seed):
    rng = np.random.default_rng(seed)
    shape = (DIM // HEAD, HEAD, HEAD)
    states = {
        f"blocks.{layer}.att.time_state": rng.standard_normal(shape).astype(np.float32)
        for layer in range(LAYERS)
    }
    return write_model(path, states)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_model(folder / "deep.safetensors", random_tensors(LAYERS, DIM, 256, HEAD, 1, "rwkv7a"))
    write_state(folder / "poet.pth.st", 5)
    return folder


@pytest.fixture(scope="module")
def server(folder):
    options = ("--dtype", "int8", "--state", f"poet={folder / 'poet.pth.st'}")
    with ServerProcess(str(folder / "deep.safetensors"), *options) as process:
        yield process.wait_until_ready()


@pytest.fixture(scope="module")
def http(server):
    with server.client() as client:
        yield client


def post(http, path, **body):
    reply = http.post(path, json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def chat(http, messages, **fields):
    answer = post(http, "/v1/chat/completions", messages=messages, **HOW, **fields)
    return answer["choices"][0]["message"]["content"], answer["usage"]


def test_a_chat_goes_on_from_the_cache_as_from_the_beginning(http):
    messages = [{"role": "user", "content": STORY}]
    for more in ("And then?", "Why?", ""):
        cold, _ = chat(http, messages, no_cache=True)
        first, _ = chat(http, messages)
        again, usage = chat(http, messages)
        assert cold == first == again
        assert usage["prompt_tokens_details"]["cached_tokens"] > 200
        messages += [{"role": "assistant", "content": first}, {"role": "user", "content": more}]
    other, _ = chat(http, [{"role": "user", "content": STORY + "Who?"}], no_cache=True)
    assert other != chat(http, [{"role": "user", "content": STORY}])[0]


def test_requests_of_one_batch_do_not_see_each_other(http):
    def alone(number):
        prompt = f"{number} {STORY}"
        return post(http, "/v1/completions", prompt=prompt, no_cache=True, **HOW)["choices"]

    with ThreadPoolExecutor(6) as threads:
        together = list(threads.map(alone, range(6)))
    assert together == [alone(number) for number in range(6)]
    assert len({choices[0]["text"] for choices in together}) > 1


def test_named_states(http):
    state = post(http, "/v1/states", prompt=STORY)
    split = post(http, "/v1/completions", prompt=REST, state_id=state["id"], **HOW)
    whole = post(http, "/v1/completions", prompt=STORY + REST, no_cache=True, **HOW)
    assert split["choices"] == whole["choices"]
    models = [model["id"] for model in http.get("/v1/models").json()["data"]]
    assert models == ["deep", "deep:poet"]
    tuned = [
        post(http, "/v1/completions", prompt=REST, model="deep:poet", no_cache=flag, **HOW)
        for flag in (True, False)
    ]
    plain = post(http, "/v1/completions", prompt=REST, no_cache=True, **HOW)
    assert tuned[0]["choices"] == tuned[1]["choices"] != plain["choices"]


def test_embeddings_and_log_probabilities(http):
    answers = [post(http, "/v1/embeddings", input=[STORY, REST])["data"] for _ in range(2)]
    assert answers[0] == answers[1]
    vectors = np.array([each["embedding"] for each in answers[0]])
    assert vectors.shape == (2, DIM)
    assert abs(vectors[0] - vectors[1]).max() > 1e-3
    fields = {"prompt": STORY, "max_tokens": 1, "logprobs": 1, "echo": True, "temperature": 0}
    cold = post(http, "/v1/completions", no_cache=True, **fields)["choices"][0]
    warm = post(http, "/v1/completions", **fields)["choices"][0]
    assert cold == warm
    assert np.isfinite(np.array(cold["logprobs"]["token_logprobs"][1:])).all()


def test_packed_it_answers_the_same(http, folder):
    path = folder / "deep.packed"
    code, _, err = run_cli(
        "convert", str(folder / "deep.safetensors"), str(path), "--dtype", "int8"
    )
    assert code == 0, err
    body = {"prompt": STORY, "no_cache": True, **HOW}
    expected = post(http, "/v1/completions", **body)["choices"]
    with ServerProcess(str(path)) as process, process.wait_until_ready().client() as client:
        assert post(client, "/v1/completions", **body)["choices"] == expected


@pytest.mark.parametrize("name", ["ffn.s_emb.weight", "ffn.s0", "ffn.s2"])
def test_a_part_that_is_missing_is_named(tmp_path, name):
    tensors = random_tensors(LAYERS, DIM, 256, HEAD, 1, "rwkv7a")
    del tensors[f"blocks.1.{name}"]
    path = write_model(tmp_path / "m.safetensors", tensors)
    with pytest.raises(CheckpointError, match=f"blocks.1.{name} is missing"):
        read_config(open_checkpoint(path))
