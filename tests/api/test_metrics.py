"""/metrics: what requests have waited for and got, and what the workers say of themselves."""

import asyncio
import json
from time import perf_counter

import pytest
from prometheus_client.parser import text_string_to_metric_families

from server.protocol.engine_report import EngineReport
from server.protocol.outputs import RequestOutput
from server.telemetry.request_metrics import RequestMetrics
from tests.api.harness import CHAT, COMPLETIONS, MODEL, Harness, serving
from tests.fakes import PATIENCE

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "hi"}]


class Scrape:
    """The samples of one text, by name and labels."""

    def __init__(self, text: str) -> None:
        self._found = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        return self._found[name, frozenset(labels.items())]

    def vllm(self, name: str, **labels: str) -> float:
        return self.value(f"vllm:{name}", model_name=MODEL, **labels)

    def gen_ai(self, name: str, operation: str) -> float:
        labels = {"gen_ai_request_model": MODEL, "gen_ai_operation_name": operation}
        return self.value(f"gen_ai_server_{name}", **labels)

    def buckets(self, name: str) -> list[float]:
        ends = (
            dict(labels).get("le") for found, labels in self._found if found == f"{name}_bucket"
        )
        return sorted({float(end) for end in ends if end})[:-1]

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self._found}


async def scrape(api: Harness) -> Scrape:
    async with api.http() as http:
        response = await http.get("/metrics")
    assert response.status_code == 200
    return Scrape(response.text)


@pytest.mark.parametrize("stream", [False, True])
async def test_each_choice_is_a_request(stream: bool) -> None:
    api = Harness()
    await api.post(COMPLETIONS, prompt=["ab", "cde"], n=2, stream=stream)
    await api.post(CHAT, messages=HELLO, stream=stream)
    found = await scrape(api)
    assert found.vllm("request_success_total", finished_reason="stop") == 5
    assert found.vllm("generation_tokens_total") == 15
    prompt = len(api.worker.generated[-1].task.prompt_ids)
    assert found.vllm("prompt_tokens_total") == 10 + prompt
    assert found.vllm("request_prompt_tokens_sum") == 10 + prompt
    assert found.vllm("request_generation_tokens_sum") == 15
    for name in ("time_to_first_token", "request_queue_time", "e2e_request_latency"):
        assert found.vllm(f"{name}_seconds_count") == 5
    assert found.vllm("inter_token_latency_seconds_count") == 10
    for operation, count in (("text_completion", 4), ("chat", 1)):
        for name in ("time_to_first_token", "time_per_output_token", "request_duration"):
            assert found.gen_ai(f"{name}_seconds_count", operation) == count


async def test_the_times_add_up() -> None:
    api = Harness()
    before = perf_counter()
    await api.post(COMPLETIONS, prompt="ab")
    passed = perf_counter() - before
    found = await scrape(api)
    first = found.vllm("time_to_first_token_seconds_sum")
    tokens = first + found.vllm("inter_token_latency_seconds_sum")
    latency = found.vllm("e2e_request_latency_seconds_sum")
    assert 0 < first < tokens <= latency < passed


async def test_tokens_that_came_together_share_the_time() -> None:
    metrics = RequestMetrics()
    record = metrics.begin(MODEL, "chat", 5, perf_counter())
    record.news(RequestOutput("r1", "a", [1], queued_seconds=0.25))
    record.news(RequestOutput("r1", "bcd", [2, 3, 4]))
    record.news(RequestOutput("r1", "", [], "length"))
    record.abort()  # too late

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"vllm:{name}", {"model_name": MODEL} | labels)

    assert value("request_queue_time_seconds_sum") == 0.25
    assert value("inter_token_latency_seconds_count") == 3
    assert value("request_success_total", finished_reason="length") == 1
    assert value("request_success_total", finished_reason="abort") == 0


async def test_the_buckets_are_those_of_vllm_and_opentelemetry() -> None:
    api = Harness()
    await api.post(COMPLETIONS, prompt="ab")
    found = await scrape(api)
    first = found.buckets("vllm:time_to_first_token_seconds")
    assert (len(first), first[0], first[-1]) == (22, 0.001, 2560)
    each = found.buckets("vllm:inter_token_latency_seconds")
    assert (len(each), each[0], each[-1]) == (19, 0.01, 80)
    for name in ("e2e_request_latency", "request_queue_time"):
        latency = found.buckets(f"vllm:{name}_seconds")
        assert (len(latency), latency[0], latency[-1]) == (21, 0.3, 7680)
    assert found.buckets("vllm:request_prompt_tokens")[:7] == [1, 2, 5, 10, 20, 50, 100]
    duration = found.buckets("gen_ai_server_request_duration_seconds")
    assert (len(duration), duration[0], duration[-1]) == (14, 0.01, 81.92)
    assert found.buckets("gen_ai_server_time_to_first_token_seconds") == first[:16]
    assert found.buckets("gen_ai_server_time_per_output_token_seconds") == each[:13]


async def test_errors_and_aborts_are_no_successes() -> None:
    api = Harness(finish="error", error="out of luck")
    assert (await api.post(COMPLETIONS, prompt="ab")).status_code == 500
    assert (await api.post(COMPLETIONS, prompt="ab", temperature=-1)).status_code == 400
    await api.post(COMPLETIONS, prompt="ab", stream=True)
    found = await scrape(api)
    assert found.vllm("request_success_total", finished_reason="error") == 2
    assert found.vllm("e2e_request_latency_seconds_count") == 0
    assert found.value("rwkv_requests_refused_total", code="engine_error") == 2
    assert found.value("rwkv_requests_refused_total", code="invalid_value") == 1


async def test_a_client_that_leaves_and_one_that_must_wait() -> None:
    api = Harness({"limits": {"max_requests": 1}}, hold_after=1)
    async with serving(api.app) as url:
        port = int(url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = json.dumps({"prompt": "ab", "stream": True}).encode()
        head = f"POST {COMPLETIONS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        async with asyncio.timeout(PATIENCE):
            await reader.readuntil(b"data: ")
        api.worker.engine_report = EngineReport(running=0)
        assert (await api.post(COMPLETIONS, prompt="x")).status_code == 429
        found = await scrape(api)
        assert found.vllm("num_requests_waiting") == 1
        writer.close()
        await api.worker.until(lambda: bool(api.worker.aborted))
    found = await scrape(api)
    assert found.vllm("num_requests_waiting") == 0
    assert found.vllm("request_success_total", finished_reason="abort") == 1
    assert found.vllm("time_to_first_token_seconds_count") == 1
    assert found.value("rwkv_requests_refused_total", code="queue_full") == 1


async def test_probes_are_not_refused_requests() -> None:
    api = Harness()
    api.client.close("compiling kernels")
    async with api.http() as http:
        assert (await http.get("/ready")).status_code == 503
    assert "rwkv_requests_refused_total" not in (await scrape(api)).names


async def test_workers_and_engines_are_described() -> None:
    api = Harness()
    api.worker.engine_report = EngineReport(steps=4, rows=6, tokens=40, seconds=0.5, running=0)
    found = await scrape(api)
    worker = {"model": MODEL, "worker": "fake"}
    assert found.value("rwkv_engine_steps_total", **worker) == 4
    assert found.value("rwkv_engine_rows_total", **worker) == 6
    assert found.value("rwkv_engine_tokens_total", **worker) == 40
    assert found.value("rwkv_engine_step_seconds_total", **worker) == 0.5
    assert found.value("rwkv_worker_restarts_total", **worker) == 2
    assert found.value("rwkv_worker_ready", **worker) == 1
    assert found.value("rwkv_worker_resident_bytes", **worker) == 12_345
    assert found.value("process_resident_memory_bytes") > 1e6


async def test_two_apps_do_not_share_their_counts() -> None:
    first, second = Harness(), Harness()
    await first.post(COMPLETIONS, prompt="ab")
    assert "vllm:generation_tokens_total" not in (await scrape(second)).names
