"""A short run of benchmarks/chaos.py: workers die under load, and no answer differs."""

import asyncio

import pytest

from benchmarks.chaos import run, start

pytestmark = pytest.mark.slow


def test_no_answer_differs_while_workers_die_and_clients_leave(tmp_path):
    with start(2, str(tmp_path)) as server:
        server.wait_until_ready()
        result = asyncio.run(run(server, seconds=12, interval=3, seed=1))
    assert result["answers"] > 0
    assert result["mismatches"] == 0, result["first_mismatch"]
    assert result["restarts"] > 0
    assert result["left_over_requests"] == 0
    assert result["tracebacks"] == 0
    assert result["exit_code"] == 0
    # What is refused is refused by name, and what has begun goes on to its end.
    assert not [kind for kind in result["errors"] if "in a stream" in kind]
    assert result["leavers"]["200"] > 0
