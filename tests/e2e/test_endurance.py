"""A short run of benchmarks/endurance.py: memory and open files stay flat."""

import asyncio

import pytest

from benchmarks.endurance import growths, run, start

pytestmark = pytest.mark.slow


def test_memory_and_files_stay_flat_over_requests_and_while_more_wait_than_may():
    with start(queued=80) as server:
        server.wait_until_ready()
        result = asyncio.run(run(server, requests=1500, warm_up=500, queued=80))
    assert not growths(result), result
    assert result["refused"] > 0


@pytest.mark.parametrize("grown", ["api_mb", "worker_files", "worker_mb_queued_growth"])
def test_growth_is_seen(grown):
    flat = {f"{name}_{what}": [9, 9] for name in ("api", "worker") for what in ("mb", "files")}
    flat |= {f"{name}_mb_queued_growth": 0 for name in ("api", "worker")}
    assert growths(flat) == []
    more = 100 if grown.endswith("growth") else [9, 100]
    assert growths(flat | {grown: more}) == [grown]
