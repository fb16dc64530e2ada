"""The program of a worker process: how it ends."""

import json
import subprocess
import sys

import msgspec

from server.config import Settings
from server.protocol.messages import Assignment, ModelSpec
from tests.fakes import PATIENCE

FAILING = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from server.worker import program as worker

def fail(*_):
    ThreadPoolExecutor(1).submit(threading.Event().wait)  # the interpreter waits for it at its end
    raise KeyError("a mistake")

worker._serve = fail
sys.exit(worker.main())
"""


def test_a_mistake_ends_it_whatever_its_threads_do_and_is_one_line_of_the_log(tmp_path):
    settings = Settings.model_validate({"logging": {"format": "json"}})
    assignment = Assignment(
        name="worker-0.1",
        address=f"ipc://{tmp_path}/workers",
        threads=1,
        cpus=[],
        cache_bytes=0,
        model=ModelSpec("tiny", ""),
        settings=settings.model_dump_json(),
    )
    process = subprocess.Popen(
        [sys.executable, "-c", FAILING], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        try:
            process.stdin.write(msgspec.json.encode(assignment) + b"\n")
            process.stdin.flush()  # it stays open: the server lives
            assert process.wait(10 * PATIENCE) == 1
            (line,) = process.stderr.read().splitlines()
        finally:
            process.kill()
    entry = json.loads(line)
    assert entry["level"] == "error"
    assert entry["message"] == "worker-0.1 of tiny ends: unexpected error"
    assert entry["exception"].endswith("KeyError: 'a mistake'")
