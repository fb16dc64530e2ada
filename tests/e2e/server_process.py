"""A real rwkv-server process on a free loopback port."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).parents[2]
START_SECONDS = 240  # the kernels may have to be compiled first
STOP_SECONDS = 30


PROGRAM = (sys.executable, "-m", "server")


class ServerProcess:
    """Starts `python -m server serve ARGS --port 0`; a context that ends what it started."""

    def __init__(self, *args, program=PROGRAM, folder=ROOT, **environment):
        """What it keeps lies in a folder of its own, unless the environment names others.

        Two servers cannot share the files and batches, and tests let servers overlap.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="rwkv-server-test-")
        environment.setdefault("RWKV_SERVER_CACHE_DIRECTORY", self._folder.name)
        environment.setdefault("XDG_DATA_HOME", self._folder.name)
        self._process = subprocess.Popen(
            [*program, "serve", *args, "--port", "0"],
            cwd=folder,
            env={**os.environ, **{name: str(value) for name, value in environment.items()}},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines = []
        self.url = ""
        self._listening, self._ready = threading.Event(), threading.Event()
        self._more_lines = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._process.stderr:
            with self._more_lines:
                self.lines.append(line.rstrip("\n"))
                self._more_lines.notify_all()
            if found := re.search(r"listening on (http://\S+),", line):
                self.url = found[1]
                self._listening.set()
            if "serving " in line:
                self._ready.set()
        self._listening.set()
        self._ready.set()

    def wait_until_listening(self):
        assert self._listening.wait(START_SECONDS)
        assert self.url, self.lines
        return self

    def wait_until_ready(self):
        assert self._ready.wait(START_SECONDS)
        assert self._process.poll() is None, self.lines
        return self

    def wait_for_line(self, text, start, times=1):
        """Wait until one, or more, of self.lines[start:] have the text. Returns them."""

        def found():
            lines = [line for line in self.lines[start:] if text in line]
            return lines if len(lines) >= times else None

        with self._more_lines:
            lines = self._more_lines.wait_for(found, START_SECONDS)
            assert lines, self.lines
            return lines

    @property
    def pid(self):
        """Of the API process."""
        return self._process.pid

    def workers(self):
        """The worker processes."""
        children = psutil.Process(self._process.pid).children()
        return [child for child in children if not _checks_grammars(child)]

    def send_signal(self, number):
        self._process.send_signal(number)

    def wait(self):
        """Wait for the end; returns the exit code."""
        code = self._process.wait(START_SECONDS)
        self._reader.join(STOP_SECONDS)
        return code

    def client(self, **options):
        return httpx.Client(base_url=self.url, timeout=60, **options)

    @contextlib.contextmanager
    def streaming(self, body):
        """The data of a completion's stream, after its first event has come."""
        with self.client() as client, client.stream("POST", "/v1/completions", json=body) as reply:
            # The generator must live: its end closes the connection.
            lines = (line for line in reply.iter_lines() if line.startswith("data: "))
            events = (line.removeprefix("data: ") for line in lines)
            next(events)
            yield events

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._folder.cleanup()


def run_cli(*args, **environment):
    """Run a command that ends; returns (exit code, standard output, standard error)."""
    done = subprocess.run(
        [sys.executable, "-m", "server", *args],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def _checks_grammars(process):
    with contextlib.suppress(psutil.Error):  # a worker that has just ended
        return "server.grammars.check" in process.cmdline()
    return False
