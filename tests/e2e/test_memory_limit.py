"""Workers that run into a limit of their memory: real ones, by setrlimit from outside."""

import contextlib
import signal
import threading
from pathlib import Path

import psutil
import pytest

from tests.e2e.server_process import ServerProcess, run_cli
from tests.e2e.test_recovery import COMMON, COMPLETIONS, read_all

pytestmark = pytest.mark.slow

MARGIN = 12 << 20
LARGE = [1] * 4_000_000
"""A prompt whose list of ids alone has more than the margin."""
# One arena, or glibc keeps address space in reserve that a limit does not take away.
SETTINGS = {
    "MALLOC_ARENA_MAX": 1,
    "RWKV_SERVER_CACHE_MEMORY_BYTES": 0,
    "RWKV_SERVER_HTTP_MAX_BODY_VALUES": len(LARGE),
}


class MemoryLimit:
    """Limits the address space of all workers that a server has or starts; a context."""

    def __init__(self, server, nbytes):
        self._server = psutil.Process(server.pid)
        self._nbytes = nbytes
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self):
        limited = set()
        while not self._over.wait(0.02):
            for worker in set(self._server.children()) - limited:
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.rlimit(psutil.RLIMIT_AS, (self._nbytes, self._nbytes))
                limited.add(worker)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()


def peak_bytes(worker):
    """The largest address space that a worker has had."""
    for line in Path(f"/proc/{worker.pid}/status").read_text().splitlines():
        if line.startswith("VmPeak:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no VmPeak")


def test_a_request_that_takes_all_memory_is_refused_and_others_go_on():
    with ServerProcess("--workers", "1", "--threads", "1", **SETTINGS) as server:
        server.wait_until_ready()
        body = {**COMMON, "stream": True, "stream_options": {"include_usage": True}}
        body |= {"prompt": "Day", "max_tokens": 3000}
        others = [(COMPLETIONS, body | {"seed": seed}) for seed in range(3)]
        expected = read_all(server, others)
        limit = peak_bytes(server.workers()[0]) + MARGIN

        def ask_for_too_much(progress):
            progress.wait_for(90)
            with server.client() as http:
                reply = http.post(COMPLETIONS, json={**COMMON, "prompt": LARGE}, timeout=200)
            assert (reply.status_code, reply.headers["x-should-retry"]) == (500, "false")
            assert reply.json()["error"]["code"] == "poison_request"

        with MemoryLimit(server, limit):
            assert read_all(server, others, ask_for_too_much) == expected
        log = "\n".join(server.lines)
        # Seldom it is a library in C that gets none, and ends the worker by a signal.
        assert 2 <= log.count("ends: out of memory") <= 3
        assert "Traceback" not in log
        with server.client() as http:
            assert http.get("/ready").status_code == 200


def test_workers_that_have_no_memory_to_start_are_waited_for_and_other_models_go_on(tmp_path):
    path = tmp_path / "b.safetensors"
    assert run_cli("init", "--layers", "1", "--dim", "64", "--vocab-size", "256", str(path))[0] == 0
    config = tmp_path / "server.toml"
    config.write_text(f"[models.b]\npath = '{path}'\n")
    with (
        ServerProcess("--config", str(config), "--threads", "1", **SETTINGS) as server,
        server.wait_until_ready().client() as http,
    ):
        first, _ = server.workers()
        since = len(server.lines)
        with MemoryLimit(server, 200 << 20):
            first.send_signal(signal.SIGKILL)
            server.wait_for_line("takes no requests", since)
            for reply in (http.get("/ready"), http.post(COMPLETIONS, json={"prompt": "x"})):
                assert reply.status_code == 503
                assert int(reply.headers["retry-after"]) >= 1
            assert http.get("/health").status_code == 200
            body = {"model": "b", "prompt": "x", "max_tokens": 2}
            assert http.post(COMPLETIONS, json=body).status_code == 200
        server.wait_for_line("takes requests again", since)
        assert http.get("/ready").status_code == 200
        assert http.post(COMPLETIONS, json={"prompt": "x", "max_tokens": 2}).status_code == 200
