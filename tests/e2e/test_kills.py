"""All workers are killed again and again under load: nothing is lost, and nobody is refused."""

import signal
import threading
from collections import Counter

import pytest

from tests.e2e.server_process import ServerProcess
from tests.e2e.test_recovery import COMMON, COMPLETIONS, Progress, read_all

pytestmark = pytest.mark.slow

WORKERS, ROUNDS = 2, 6
SHORT = {"prompt": "a", "max_tokens": 2, "ignore_eos": True, "temperature": 0}


def stream(seed):
    options = {"stream": True, "stream_options": {"include_usage": True}}
    return COMPLETIONS, {**COMMON, "prompt": "Once", "seed": seed, "max_tokens": 6000, **options}


class Others:
    """A client that asks for something short, again and again; counts the statuses."""

    def __init__(self, server):
        self.statuses = Counter()
        self.answers = Progress()
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _run(self):
        with self._server.client() as http:
            while not self._over.wait(0.05):
                self.statuses[http.post(COMPLETIONS, json=SHORT).status_code] += 1
                self.answers.add(1)


def test_workers_that_are_killed_under_load_lose_nothing_and_refuse_nobody():
    with ServerProcess("--workers", str(WORKERS), "--threads", "1") as server:
        server.wait_until_ready()
        requests = [stream(seed) for seed in range(4)]
        expected = read_all(server, requests)
        others = Others(server)

        def kill_all(progress):
            with others:
                for _ in range(ROUNDS):
                    progress.wait_for(400)
                    # A worker that brought nothing forward is started later and later, and until
                    # then the other one could end all streams.
                    others.answers.wait_for(2)
                    since = len(server.lines)
                    for worker in server.workers():
                        worker.send_signal(signal.SIGKILL)
                    server.wait_for_line("is back", since, times=WORKERS)

        assert read_all(server, requests, kill_all) == expected
        assert sum("was killed by SIGKILL" in line for line in server.lines) == ROUNDS * WORKERS
        assert set(others.statuses) == {200}, others.statuses
        assert not [line for line in server.lines if "takes no requests" in line]
