"""What the workers and their engines do, as families of /metrics."""

from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from server.pool.records import WorkerStatus
from server.protocol.engine_report import EngineReport
from server.registry.deployments import CacheReports, EngineReports

_Number = Callable[[EngineReport], float]
_ENGINE: tuple[tuple[str, str, _Number], ...] = (
    ("steps", "Steps that computed something.", lambda report: report.steps),
    ("rows", "Requests in these steps, summed up: by steps, the size of batches.",
     lambda report: report.rows),
    ("tokens", "Tokens that were computed, of prompts and answers.", lambda report: report.tokens),
    ("step_seconds", "That the steps took.", lambda report: report.seconds),
)  # fmt: skip


class WorkerCollector(Collector):
    """Families of the processes: their restarts, readiness and memory."""

    def __init__(self, status: dict[str, list[WorkerStatus]]) -> None:
        self._status = status

    def collect(self) -> Iterable[Metric]:
        """See Collector."""
        labels = ["model", "worker"]
        restarts = CounterMetricFamily(
            "rwkv_worker_restarts", "How often it ended and was to be started again.", labels=labels
        )
        ready = GaugeMetricFamily("rwkv_worker_ready", "1 while it takes requests.", labels=labels)
        memory = GaugeMetricFamily(
            "rwkv_worker_resident_bytes", "With the weights, which workers share.", labels=labels
        )
        for model, workers in self._status.items():
            for worker in workers:
                place = [model, worker.name]
                restarts.add_metric(place, worker.restarts)
                ready.add_metric(place, worker.ready)
                if worker.resident_bytes is not None:
                    memory.add_metric(place, worker.resident_bytes)
        return restarts, ready, memory


class EngineCollector(Collector):
    """Families of the engines, and of what vLLM would say of them."""

    def __init__(
        self, engines: EngineReports, caches: CacheReports, active: dict[str, int]
    ) -> None:
        """`active` are all requests of a model, running and waiting."""
        self._engines = engines
        self._caches = caches
        self._active = active

    def collect(self) -> Iterable[Metric]:
        """See Collector."""
        for name, text, number in _ENGINE:
            family = CounterMetricFamily(f"rwkv_engine_{name}", text, labels=["model", "worker"])
            for model, of_model in self._engines.items():
                for worker, report in of_model.items():
                    if report is not None:
                        family.add_metric([model, worker.partition(".")[0]], number(report))
            yield family
        yield from self._requests()
        yield self._cache_usage()

    def _requests(self) -> Iterable[Metric]:
        running = GaugeMetricFamily(
            "vllm:num_requests_running", "Requests that have a slot.", labels=["model_name"]
        )
        waiting = GaugeMetricFamily(
            "vllm:num_requests_waiting", "Requests that wait for one.", labels=["model_name"]
        )
        for model, of_model in self._engines.items():
            count = sum(report.running for report in of_model.values() if report)
            running.add_metric([model], count)
            # Some end, and some come, between the answers of the workers and this sum.
            waiting.add_metric([model], max(0, self._active[model] - count))
        return running, waiting

    def _cache_usage(self) -> Metric:
        usage = GaugeMetricFamily(
            "vllm:kv_cache_usage_perc",
            "Share of the memory for cached states that is in use, 0 to 1.",
            labels=["model_name"],
        )
        for model, of_model in self._caches.items():
            found = [report for report in of_model.values() if report]
            limit = sum(report.limit_bytes for report in found)
            used = sum(report.memory.nbytes for report in found)
            usage.add_metric([model], used / limit if limit else 0.0)
        return usage
