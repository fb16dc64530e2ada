"""A real Redis of one's own, on a Unix socket."""

import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")


class RedisServer:
    """Starts, stops and starts again, each time empty."""

    def __init__(self):
        self._folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self.url = f"unix://{self._folder}/s"
        self._process = None

    def start(self, *options):
        command = [PROGRAM, "--port", "0", "--unixsocket", self._folder / "s", "--save", ""]
        self._process = subprocess.Popen(
            [*command, "--dir", self._folder, *options], stdout=subprocess.PIPE, text=True
        )
        for line in self._process.stdout:
            if "ready to accept" in line.lower():
                return
        raise AssertionError("redis-server did not start")

    def stop(self):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def pause(self):
        self._process.send_signal(signal.SIGSTOP)

    def resume(self):
        self._process.send_signal(signal.SIGCONT)

    def remove(self):
        if self._process.poll() is None:
            self.stop()
        shutil.rmtree(self._folder)


@contextmanager
def running_redis():
    """A server, started; skips the test where there is no program for it."""
    if PROGRAM is None:
        pytest.skip("neither redis-server nor valkey-server is installed")
    server = RedisServer()
    server.start()
    try:
        yield server
    finally:
        server.remove()
