"""What operators do with a real server: scrape it, watch it start and stop."""

import json
import signal

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.server_process import ServerProcess

MODEL = "rwkv-embedded"


def samples(text):
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_of_real_workers(server):
    body = {"prompt": "Once upon a time", "max_tokens": 5, "ignore_eos": True, "stream": True}
    with server.client() as client:
        before = samples(client.get("/metrics").text)
        with server.streaming(body) as events:
            assert list(events)[-1] == "[DONE]"
        after = samples(client.get("/metrics").text)

    def added(*key):
        return after[key] - before.get(key, 0)

    assert added("vllm:generation_tokens_total", MODEL) == 5
    assert added("vllm:request_queue_time_seconds_count", MODEL) == 1
    assert 0 < added("vllm:request_queue_time_seconds_sum", MODEL) < 60
    assert added("rwkv_engine_rows_total", MODEL, "worker-0") >= 5
    assert added("rwkv_engine_step_seconds_total", MODEL, "worker-0") > 0
    assert after["vllm:num_requests_running", MODEL] == 0
    assert 0 <= after["vllm:kv_cache_usage_perc", MODEL] <= 1
    (worker,) = server.workers()
    resident = after["rwkv_worker_resident_bytes", MODEL, "worker-0"]
    assert resident > psutil.Process(worker.pid).memory_info().rss / 2
    assert after["rwkv_worker_ready", MODEL, "worker-0"] == 1


@pytest.mark.parametrize("on", [False, True])
def test_what_clients_ask_is_logged_only_if_the_operator_says_so(on):
    secret = "The password is swordfish."
    body = {"prompt": secret, "max_tokens": 2000, "ignore_eos": True, "stream": True, "seed": 1}
    settings = {"RWKV_SERVER_LOGGING_PROMPTS": on, "RWKV_SERVER_LOGGING_LEVEL": "debug"}
    with ServerProcess(**settings) as server:
        server.wait_until_ready()
        with server.streaming(body) as events:
            if not on:  # what is said of a worker that dies must not say it either
                server.workers()[0].send_signal(signal.SIGKILL)
            answer = "".join(
                json.loads(event)["choices"][0]["text"] for event in events if event != "[DONE]"
            )
        server.wait_for_line("2000 tokens", 0)
        refused = server.client().post("/v1/completions", json={"prompt": {"text": secret}})
        assert refused.status_code == 400
        metrics = server.client().get("/metrics").text
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0
    log = "\n".join(server.lines)
    assert secret not in refused.text + metrics
    assert (json.dumps(secret) in log) == on
    assert (json.dumps(answer[:30], ensure_ascii=False)[1:-1] in log) == on
    assert any("logging.prompts is on" in line for line in server.lines) == on


def test_a_server_that_drains_is_unready_and_still_serves():
    body = {"prompt": "Once", "max_tokens": 300, "ignore_eos": True, "stream": True}
    with ServerProcess(RWKV_SERVER_HTTP_DRAIN_SECONDS=5) as server:
        server.wait_until_ready()
        with server.streaming(body) as events:
            before = len(server.lines)
            server.send_signal(signal.SIGTERM)
            server.wait_for_line("stopping on SIGTERM", before)
            with server.client() as client:  # a new connection
                ready = client.get("/ready")
                assert (ready.status_code, ready.json()["error"]["code"]) == (503, "stopping")
                assert client.get("/live").status_code == 200
                served = client.post("/v1/completions", json={"prompt": "x", "max_tokens": 2})
                assert served.status_code == 200
            assert list(events)[-1] == "[DONE]"
        assert server.wait() == 0
        assert not any("was killed" in line for line in server.lines)  # workers end by themselves


def test_a_signal_to_all_processes_is_for_the_server_alone():
    body = {"prompt": "Once", "max_tokens": 300, "ignore_eos": True, "stream": True}
    with ServerProcess() as server:
        server.wait_until_ready()
        with server.streaming(body) as events:
            (worker,) = server.workers()
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
                worker.send_signal(number)
            server.send_signal(signal.SIGTERM)  # as systemd stops a service
            assert list(events)[-1] == "[DONE]"
        assert server.wait() == 0
        assert not any("was ended by" in line for line in server.lines)


def test_a_second_signal_ends_running_streams_at_once():
    body = {"prompt": "Once", "max_tokens": 60000, "ignore_eos": True, "stream": True}
    patience = {"RWKV_SERVER_HTTP_DRAIN_SECONDS": 9999, "RWKV_SERVER_HTTP_SHUTDOWN_SECONDS": 9999}
    with ServerProcess(**patience) as server:
        server.wait_until_ready()
        with server.streaming(body) as events:
            before = len(server.lines)
            server.send_signal(signal.SIGTERM)
            server.wait_for_line("stopping on SIGTERM", before)
            server.send_signal(signal.SIGTERM)
            *_, last = events
        assert "shutting down" in json.loads(last)["error"]["message"]
        assert server.wait() == 0
