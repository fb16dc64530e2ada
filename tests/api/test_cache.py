"""/v1/cache and /metrics: what the caches of all workers say, and who may ask."""

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from server.pool import inquiries
from server.protocol.cache_view import CacheCounters, CacheReport, EntryInfo
from server.protocol.messages import CacheQuery
from server.protocol.tier_view import TierCounters
from tests.api.harness import MODEL, Harness, assert_error

pytestmark = pytest.mark.anyio

REPORT = CacheReport(
    limit_bytes=1000,
    memory=CacheCounters(exact_hits=1, prefix_hits=2, unknown=3, no_snapshot=4, nbytes=500),
    tiers={"disk": TierCounters(hits=5, corrupt=6, nbytes=700)},
    recent=[EntryInfo(1, "", "reply", 12, 500, 3, 1.5, 0.5, False)],
)


def harness(report: CacheReport | None = REPORT) -> Harness:
    api = Harness()
    api.worker.report = report
    return api


async def ask(api: Harness, method: str, path: str) -> httpx.Response:
    async with api.http() as http:
        return await http.request(method, path)


async def test_the_operator_sees_every_worker() -> None:
    api = harness()
    answer = (await ask(api, "GET", "/v1/cache")).json()
    (entry,) = answer["data"]
    assert (entry["model"], entry["worker"]) == (MODEL, "fake")
    assert entry["cache"]["memory"]["no_snapshot"] == 4
    assert entry["cache"]["tiers"]["disk"]["corrupt"] == 6
    assert entry["cache"]["recent"][0]["tokens"] == 12
    assert api.worker.queries == [CacheQuery(1)]


@pytest.mark.parametrize("shared", [False, True])
async def test_the_operator_empties_the_caches(shared: bool) -> None:
    api = harness()
    answer = (await ask(api, "DELETE", f"/v1/cache?shared={shared}")).json()
    assert answer == {"object": "cache.cleared", "models": [MODEL], "complete": True}
    assert api.worker.queries == [CacheQuery(1, True, shared)]


async def test_a_worker_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inquiries, "ANSWER_SECONDS", 0.01)
    api = harness(None)
    assert (await ask(api, "GET", "/v1/cache")).json()["data"][0]["cache"] is None
    assert (await ask(api, "DELETE", "/v1/cache")).json()["complete"] is False
    assert (await ask(api, "GET", "/metrics")).status_code == 200
    api.client.inquiries.answer(1, REPORT)  # too late: dropped
    api.client.lose(api.worker.link)
    assert (await ask(api, "GET", "/v1/cache")).json()["data"] == []
    assert len(api.worker.queries) == 3


async def test_metrics_are_in_the_format_of_prometheus() -> None:
    response = await ask(harness(), "GET", "/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }

    def value(name: str, **labels: str) -> float:
        return found[name, *sorted({"model": MODEL, "worker": "fake", **labels}.items())]

    assert value("rwkv_cache_hits_total", tier="memory", kind="exact") == 1
    assert value("rwkv_cache_hits_total", tier="disk", kind="prefix") == 5
    assert value("rwkv_cache_misses_total", tier="memory", reason="no_snapshot") == 4
    assert value("rwkv_cache_misses_total", tier="disk", reason="corrupt") == 6
    assert value("rwkv_cache_bytes", tier="memory") == 500
    assert value("rwkv_cache_bytes", tier="disk") == 700
    assert value("rwkv_cache_limit_bytes", tier="memory") == 1000


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/cache"), ("DELETE", "/v1/cache"), ("GET", "/metrics")]
)
async def test_others_than_the_operator_are_refused(method: str, path: str) -> None:
    api = harness()
    transport = httpx.ASGITransport(api.app, client=("10.0.0.1", 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        assert_error(await http.request(method, path), 403, "admin_refused")
    assert not api.worker.queries
    off = Harness({"http": {"admin": "off"}})
    assert_error(await ask(off, method, path), 404, "unknown_url")
