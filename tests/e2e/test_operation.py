"""What operators do with a real server: scrape it, watch it start and stop."""

import psutil
from prometheus_client.parser import text_string_to_metric_families

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
