"""Several models in one real server, and changes while it runs."""

import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.e2e.server_process import STOP_SECONDS, ServerProcess
from tests.model.random_models import random_tensors, write_model

ADMIN = "/v1/admin/models"
CONFIG = """
[model]
path = "{folder}/first.safetensors"
aliases = ["main"]
directories = ["{folder}/more"]
[models."org/second"]
path = "{folder}/second.safetensors"
aliases = ["gpt-4o"]
states = {{ poet = "{folder}/poet.pth" }}
"""


def write(path, seed, generation="rwkv7"):
    path.parent.mkdir(exist_ok=True)
    return write_model(path, random_tensors(1, 64, 256, 64, seed, generation))


def write_parts(folder):
    """A tuned state, and a LoRA of alpha 2."""
    rng = np.random.default_rng(0)
    state = {"blocks.0.att.time_state": rng.standard_normal((1, 64, 64), dtype=np.float32)}
    write_model(folder / "poet.pth", state)
    lora = {
        f"blocks.0.att.value.lora_{side}": rng.standard_normal(shape, dtype=np.float32)
        for side, shape in (("A", (2, 64)), ("B", (64, 2)))
    }
    (folder / "more" / ".adapters").mkdir()
    write_model(folder / "more" / ".adapters" / "style.pth", lora)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models")
    write(path / "first.safetensors", 1)
    write(path / "second.safetensors", 2, "rwkv6")
    write(path / "more" / "third.safetensors", 3)
    write_parts(path)
    (path / "server.toml").write_text(CONFIG.format(folder=path))
    return path


@pytest.fixture(scope="module")
def server(folder):
    """A server that every test leaves as it was."""
    with ServerProcess("--config", str(folder / "server.toml")) as process:
        yield process.wait_until_ready()


@pytest.fixture
def http(server):
    with server.client() as client:
        yield client


def request(model, max_tokens=30, **fields):
    body = {"prompt": "ab", "max_tokens": max_tokens, "ignore_eos": True, "seed": 5}
    return body | {"model": model} | fields


def complete(http, model, **fields):
    reply = http.post("/v1/completions", json=request(model, **fields))
    assert reply.status_code == 200, reply.text
    return reply.json()


def text(http, model, **fields):
    return complete(http, model, **fields)["choices"][0]["text"]


def refusal(http, model):
    reply = http.post("/v1/completions", json=request(model))
    return reply.status_code, reply.json()["error"]["code"]


def change(http, action, ident, **fields):
    return http.post(f"{ADMIN}/{action}", json={"id": ident, **fields})


def states(http):
    return {model["id"]: model["state"] for model in http.get(ADMIN).json()["data"]}


def read(events):
    return "".join(json.loads(event)["choices"][0]["text"] for event in events if event != "[DONE]")


def test_each_model_gives_its_own_answers(server, http):
    answers = {name: complete(http, name) for name in ("first", "main", "org/second", "gpt-4o")}
    texts = {name: answer["choices"][0]["text"] for name, answer in answers.items()}
    assert texts["first"] == texts["main"] == text(http, "")
    assert texts["org/second"] == texts["gpt-4o"] != texts["first"]
    assert answers["gpt-4o"]["model"] == "org/second"
    assert answers["gpt-4o"]["system_fingerprint"] != answers["main"]["system_fingerprint"]
    assert refusal(http, "gpt-4") == (404, "model_not_found")
    assert len(server.workers()) == 2


def test_a_request_may_name_a_state_to_begin_with(http):
    assert text(http, "org/second:poet") == text(http, "gpt-4o:poet") != text(http, "org/second")
    assert complete(http, "gpt-4o:poet")["model"] == "org/second:poet"
    for unknown in ("org/second:nobody", "first:poet"):
        assert refusal(http, unknown) == (404, "model_not_found")


def test_an_adapter_changes_the_model(http, folder):
    plain = change(http, "load", "third")
    assert plain.json()["state"] == "ready"
    before = text(http, "third")
    change(http, "unload", "third")
    file = folder / "more/.adapters/style.pth"
    for alpha, answer in (("", "give its alpha as style.pth:ALPHA"), (":2", "ready")):
        reply = change(http, "load", "third", adapters=[f"{file}{alpha}"])
        assert answer in reply.text
    assert text(http, "third") != before
    change(http, "unload", "third")
    assert change(http, "load", "third", adapters=[]).json()["state"] == "ready"
    assert text(http, "third") == before
    change(http, "unload", "third")


def test_a_model_of_a_directory_is_loaded_on_demand(server, http):
    assert [model["id"] for model in http.get("/v1/models").json()["data"]] == [
        *("first", "org/second", "org/second:poet", "third", "main", "gpt-4o"),
    ]
    assert refusal(http, "third") == (503, "model_not_loaded")
    assert change(http, "load", "third").json()["state"] == "ready"
    assert text(http, "third") not in (text(http, "first"), text(http, "org/second"))
    workers = server.workers()
    assert change(http, "unload", "third").json()["state"] == "available"
    assert len(workers) == 3
    assert len(server.workers()) == 2  # its memory is free when the answer comes
    assert refusal(http, "third") == (503, "model_not_loaded")


def test_a_reload_does_not_disturb_a_stream(server, http):
    before = server.workers()
    with server.streaming(request("first", 60_000, stream=True)) as events:
        # The first event is read already, and is part of the text.
        reply = change(http, "reload", "first").json()
        assert (reply["state"], reply["active_requests"]) == ("ready", 1)
        assert len(server.workers()) == 3
        during = text(http, "first")
        seen = read(next(events) for _ in range(200))
    # A token is a byte: no character has more than four. The first event was read before.
    assert seen in text(http, "first", max_tokens=min(65_536, 4 * len(seen)))
    assert during == text(http, "first")
    deadline = time.monotonic() + STOP_SECONDS
    while len(server.workers()) > 2:
        assert time.monotonic() < deadline
    assert len(set(server.workers()) & set(before)) == 1


def test_an_unload_lets_a_stream_finish(server, http):
    with ThreadPoolExecutor(1) as thread:
        whole = text(http, "gpt-4o", max_tokens=2000)
        body = request("gpt-4o", 2000, stream=True)
        with server.client() as client, client.stream("POST", "/v1/completions", json=body) as it:
            lines = (line[6:] for line in it.iter_lines() if line.startswith("data: "))
            first = next(lines)
            unloading = thread.submit(change, http, "unload", "gpt-4o")
            with server.client() as other:
                while states(other)["org/second"] == "ready":
                    pass
                assert refusal(other, "org/second") == (503, "model_not_loaded")
                assert not unloading.done()
            assert read([first, *lines]) == whole
        assert unloading.result().json()["state"] == "available"
    assert change(http, "load", "org/second").json()["loads"] == 2
    assert text(http, "gpt-4o", max_tokens=2000) == whole


def test_a_reload_that_fails_leaves_the_old_model(server, http, folder):
    path = folder / "second.safetensors"
    content, answer = path.read_bytes(), text(http, "org/second")
    try:
        for broken, why in ((b"nonsense", "second.safetensors"), (content[:-4], "second.safet")):
            path.write_bytes(broken)
            reply = change(http, "reload", "org/second")
            assert (reply.status_code, reply.json()["error"]["code"]) == (400, "model_load_failed")
            assert why in reply.json()["error"]["message"]
            assert "\n" not in reply.json()["error"]["message"]
        path.write_bytes(content[:-4] + b"\xff\xff\xff\xff")  # only the worker finds a NaN
        reply = change(http, "reload", "org/second")
        assert "not finite" in reply.json()["error"]["message"]
        assert text(http, "org/second") == answer
        assert len(server.workers()) == 2
    finally:
        path.write_bytes(content)
    assert change(http, "reload", "org/second").status_code == 200
    assert text(http, "org/second") == answer


def test_sighup_brings_the_models_to_the_file(server, http, folder):
    config = folder / "server.toml"
    before = config.read_text()

    def reread(content, until="the settings are read"):
        start = len(server.lines)
        config.write_text(content)
        server.send_signal(signal.SIGHUP)
        server.wait_for_line(until, start)
        return server.lines[start:]

    answer, other = text(http, "main"), text(http, "gpt-4o")
    added = before.replace("org/second", "added").replace("gpt-4o", "new")
    reread(added + '[models.bad]\npath = "/nonexistent/x.pth"\n')
    assert states(http) == {
        **{"first": "ready", "added": "ready"},
        **{"third": "available", "bad": "failed"},
    }
    assert text(http, "new") == other
    assert refusal(http, "gpt-4o") == (404, "model_not_found")
    assert any("model bad: /nonexistent/x.pth" in line for line in server.lines)
    reread("[model\n", "the models stay as they are")
    assert text(http, "added") == other
    write(folder / "first.safetensors", 4)  # a changed file
    reread(before)
    assert states(http) == {"first": "ready", "org/second": "ready", "third": "available"}
    assert text(http, "gpt-4o") == other
    assert text(http, "main") != answer
    write(folder / "first.safetensors", 1)
    reread(before)
    assert text(http, "main") == answer
    assert not any("Traceback" in line for line in server.lines)
