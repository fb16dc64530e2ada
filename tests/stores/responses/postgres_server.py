"""A real PostgreSQL of one's own, on a Unix socket."""

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
PATH = os.pathsep.join([*map(str, FOLDERS), os.environ.get("PATH", "")])
USER = "postgres" if os.geteuid() == 0 else None
"""It refuses to be root."""


class PostgresServer:
    """Starts, stops and starts again with what it had."""

    def __init__(self):
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._data = self._folder / "data"
        self.url = f"postgresql://postgres@/postgres?host={self._folder}"
        self._process = None
        if USER:
            shutil.chown(self._folder, USER)
        self._run("initdb", "-D", self._data, "-U", "postgres", "--auth=trust", "--no-sync")

    def start(self):
        options = ("-c", "listen_addresses=", "-c", "fsync=off", "-k", self._folder)
        program = shutil.which("postgres", path=PATH)
        self._process = subprocess.Popen(
            [program, "-D", self._data, *options], stderr=subprocess.PIPE, text=True, user=USER
        )
        for line in self._process.stderr:
            if "ready to accept connections" in line:
                return
        raise AssertionError("postgres did not start")

    def stop(self):
        self._process.send_signal(signal.SIGINT)  # ends all connections
        self._process.communicate()

    def empty(self):
        with psycopg.connect(self.url, autocommit=True) as db:
            db.execute("DROP SCHEMA public CASCADE")
            db.execute("CREATE SCHEMA public")

    def remove(self):
        self.stop()
        shutil.rmtree(self._folder)

    def _run(self, program, *arguments):
        command = [shutil.which(program, path=PATH), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, user=USER)


@contextmanager
def running_postgres():
    """A server, started; skips the test where there is no program for it."""
    if not all(shutil.which(program, path=PATH) for program in ("postgres", "initdb")):
        pytest.skip("PostgreSQL's server is not installed")
    server = PostgresServer()
    server.start()
    try:
        yield server
    finally:
        server.remove()
