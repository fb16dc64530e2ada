"""The metrics of /metrics, in the text format of Prometheus."""

import asyncio
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from server.protocol.cache_view import CacheCounters, CacheReport
from server.protocol.tier_view import TierCounters
from server.registry.deployments import CacheReports, Deployments
from server.telemetry.request_metrics import RequestMetrics
from server.telemetry.worker_metrics import EngineCollector, WorkerCollector

Row = tuple[tuple[str, ...], float]
"""Values of further labels, and a number."""


async def all_metrics(requests: RequestMetrics, deployments: Deployments) -> bytes:
    """What this process knows, and what the workers answer now; of some, since they started."""
    caches, engines = await asyncio.gather(
        deployments.cache_reports(), deployments.engine_reports()
    )
    active = {model: deployments.active_requests_of(model) for model in engines}
    registry = CollectorRegistry(auto_describe=False)
    registry.register(EngineCollector(engines, caches, active))
    registry.register(WorkerCollector(deployments.worker_status()))
    registry.register(_CacheCollector(caches))
    return generate_latest(requests.registry) + generate_latest(registry)


class _CacheCollector(Collector):
    def __init__(self, reports: CacheReports) -> None:
        self._reports = reports

    def collect(self) -> Iterable[Metric]:
        for make, name, text, labels, rows in _FAMILIES:
            family = make(f"rwkv_cache_{name}", text, labels=["model", "worker", *labels])
            for model, of_model in self._reports.items():
                for worker, report in of_model.items():
                    place = worker.partition(".")[0]  # the same when it is started again
                    for values, number in rows(report) if report else ():
                        family.add_metric([model, place, *values], number)
            yield family


def _hits(report: CacheReport) -> Iterator[Row]:
    yield ("memory", "exact"), report.memory.exact_hits
    yield ("memory", "prefix"), report.memory.prefix_hits
    for name, tier in report.tiers.items():
        yield (name, "prefix"), tier.hits


def _misses(report: CacheReport) -> Iterator[Row]:
    yield ("memory", "unknown"), report.memory.unknown
    yield ("memory", "no_snapshot"), report.memory.no_snapshot
    yield ("memory", "not_asked"), report.memory.not_asked
    for name, tier in report.tiers.items():
        yield (name, "absent"), tier.absent
        yield (name, "unavailable"), tier.unavailable
        yield (name, "corrupt"), tier.corrupt
        yield (name, "foreign"), tier.foreign


def _lost(report: CacheReport) -> Iterator[Row]:
    yield ("memory", "evicted"), report.memory.evicted
    yield ("memory", "refused"), report.memory.refused
    for name, tier in report.tiers.items():
        yield (name, "dropped"), tier.dropped
        yield (name, "refused"), tier.refused


def _each(
    memory: Callable[[CacheCounters], int] | None, tier: Callable[[TierCounters], int]
) -> Callable[[CacheReport], Iterator[Row]]:
    def rows(report: CacheReport) -> Iterator[Row]:
        if memory is not None:
            yield ("memory",), memory(report.memory)
        for name, counters in report.tiers.items():
            yield (name,), tier(counters)

    return rows


def _limit(report: CacheReport) -> Iterator[Row]:
    yield ("memory",), report.limit_bytes


_TIER = ("tier",)
_FAMILIES = (
    (CounterMetricFamily, "hits", "Prompts that began with a cached state.",
     ("tier", "kind"), _hits),
    (CounterMetricFamily, "misses", "Prompts, or payloads, without a state of use.",
     ("tier", "reason"), _misses),
    (CounterMetricFamily, "saved_tokens", "Tokens that were not computed thanks to a hit.",
     _TIER, _each(lambda c: c.tokens_saved, lambda c: c.tokens_saved)),
    (CounterMetricFamily, "writes", "States that were taken in.",
     _TIER, _each(lambda c: c.inserts, lambda c: c.writes)),
    (CounterMetricFamily, "lost", "States that were not taken in, or made room for others.",
     ("tier", "reason"), _lost),
    (CounterMetricFamily, "errors", "Failures of a file or a connection.",
     _TIER, _each(None, lambda c: c.errors)),
    (GaugeMetricFamily, "entries", "States that are kept.",
     _TIER, _each(lambda c: c.entries, lambda c: c.entries)),
    (GaugeMetricFamily, "bytes", "What they take up.",
     _TIER, _each(lambda c: c.nbytes, lambda c: c.nbytes)),
    (GaugeMetricFamily, "limit_bytes", "What they may take up.", _TIER, _limit),
)  # fmt: skip
