"""More than a key may use, and an end of the server in the middle of much to do."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from server.access.keys_file import append_key, new_key, table_of
from tests.e2e.server_process import ServerProcess
from tests.e2e.test_recovery import COMMON, COMPLETIONS, read_all

pytestmark = pytest.mark.slow

PER_MINUTE, CLIENTS, EACH = 240, 8, 2
SHORT = {"model": "rwkv-embedded", "prompt": "a", "max_tokens": 1}


@pytest.fixture
def limited(tmp_path):
    """A server, and a key of PER_MINUTE requests a minute, so many of which are used up."""
    file, key = tmp_path / "keys.toml", new_key()
    table = table_of("alice", key, "user") + f"requests_per_minute = {PER_MINUTE}\n"
    append_key(file, "alice", table)
    with ServerProcess("--threads", "1", RWKV_SERVER_HTTP_KEYS_FILE=file) as server:
        server.wait_until_ready()
        with (
            server.client(headers={"authorization": f"Bearer {key}"}) as http,
            ThreadPoolExecutor(CLIENTS) as pool,
        ):

            def use_up(_):
                while (reply := http.post(COMPLETIONS, json=SHORT)).status_code == 200:
                    pass
                return reply

            replies = list(pool.map(use_up, range(CLIENTS)))
        yield server, key, replies


def test_who_is_over_a_limit_is_told_when_to_come_back_and_is_served_then(limited):
    server, key, replies = limited
    for reply in replies:
        assert (reply.status_code, reply.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert reply.headers["x-ratelimit-remaining-requests"] == "0"
        assert "x-should-retry" not in reply.headers
    with server.client(headers={"authorization": f"Bearer {key}"}) as http:
        for _ in range(3):
            while (reply := http.post(COMPLETIONS, json=SHORT)).status_code == 200:
                pass
            time.sleep(int(reply.headers["retry-after"]))
            assert http.post(COMPLETIONS, json=SHORT).status_code == 200


def test_openai_clients_get_through_a_limit_by_themselves(limited):
    server, key, _ = limited
    seen = len(server.lines)

    def ask(_):
        # The server's Retry-After is what they wait for; with eight at once some have to again.
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=9) as sdk:
            return [len(sdk.completions.create(**SHORT).choices) for _ in range(EACH)]

    with ThreadPoolExecutor(CLIENTS) as pool:
        assert list(pool.map(ask, range(CLIENTS))) == [[1] * EACH] * CLIENTS
    # A client may have its answer before the line of the last one is read.
    assert (
        len(server.wait_for_line("POST /v1/completions 200", seen, CLIENTS * EACH))
        == CLIENTS * EACH
    )
    assert len(server.wait_for_line("POST /v1/completions 429", seen, CLIENTS)) >= CLIENTS


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_is_killed_while_the_server_drains_costs_nobody_a_byte(workers):
    body = {**COMMON, "prompt": "Once", "stream": True, "stream_options": {"include_usage": True}}
    requests = [(COMPLETIONS, body | {"seed": seed, "max_tokens": 900}) for seed in range(8)]
    requests += [(COMPLETIONS, body | {"seed": 9, "max_tokens": 900, "stream": False})]
    for _, each in requests[8:]:
        del each["stream_options"]
    options = "--workers", str(workers), "--threads", "1"
    with ServerProcess(*options, RWKV_SERVER_HTTP_SHUTDOWN_SECONDS=200) as server:
        server.wait_until_ready()
        expected = read_all(server, requests)

        def drain_and_kill(progress):
            progress.wait_for(300)
            since = len(server.lines)
            server.send_signal(signal.SIGTERM)
            server.wait_for_line("stopping on SIGTERM", since)
            server.workers()[0].send_signal(signal.SIGKILL)
            server.wait_for_line("requests go on", since)

        assert read_all(server, requests, drain_and_kill) == expected
        assert server.wait() == 0
        assert not any("Traceback" in line for line in server.lines)
