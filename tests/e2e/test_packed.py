"""A packed model behind HTTP answers as the model that it was made of."""

import pytest

from tests.e2e.server_process import ServerProcess, run_cli

BODY = {"prompt": "Once upon a time", "max_tokens": 20, "seed": 1, "temperature": 1}


def answer(process):
    with process.client() as client:
        reply = client.post("/v1/completions", json=BODY)
        assert reply.status_code == 200
        models = client.get("/v1/models").json()["data"]
        return reply.json()["choices"][0], models[0]["id"]


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "mine.packed"
    code, _, err = run_cli("convert", "server/assets/embedded", str(path))
    assert code == 0, err
    return path


def test_it_is_served_without_a_cache(server, packed):
    expected, _ = answer(server)
    with ServerProcess(str(packed), RWKV_SERVER_ENGINE_WEIGHTS_CACHE_BYTES=0) as process:
        found, name = answer(process.wait_until_ready())
    assert (found, name) == (expected, "mine")
    assert not any("packing" in line for line in process.lines)


def test_another_dtype_is_one_line(packed):
    code, _, err = run_cli("serve", str(packed), "--dtype", "int4", "--port", "0")
    assert code == 2
    assert "packed as bfloat16, not int4: leave out --dtype" in err
    assert "Traceback" not in err
