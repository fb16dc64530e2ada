"""A server to be compared: ours or llama.cpp's, on a free loopback port."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from benchmarks.peers.programs import ROOT, ProgramError, last_line

START_SECONDS = 300.0  # our kernels may have to be compiled first
STOP_SECONDS = 40.0


class ServerProcess:
    """Runs a command with `--host` and `--port` added; a context that ends what it started."""

    def __init__(
        self, command: Sequence[object], environment: Mapping[str, str] | None = None
    ) -> None:
        with socket.socket() as probe:  # llama-server cannot choose a port and tell it
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._name = str(command[0])
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [*map(str, command), "--host", "127.0.0.1", "--port", str(port)],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def wait_until_ready(self) -> Self:
        """Returns when a completion is answered; raises ProgramError when the server ends first."""
        body = {"prompt": "Hello", "max_tokens": 1}
        end = time.monotonic() + START_SECONDS
        with httpx.Client(base_url=self.url, timeout=START_SECONDS, trust_env=False) as client:
            while time.monotonic() < end and self._process.poll() is None:
                try:
                    if client.post("/v1/completions", json=body).status_code == httpx.codes.OK:
                        return self
                except httpx.TransportError:
                    pass
                time.sleep(0.1)
        self._log.seek(0)
        said = last_line(self._log.read().decode("utf-8", "replace"))
        raise ProgramError(f"{self._name} did not start: {said}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


def our_server(
    model: Path, dtype: str, threads: int, cache_folder: Path | None = None
) -> ServerProcess:
    """`rwkv-server serve` on a checkpoint, with a state cache only if there is a folder for it."""
    command = [sys.executable, "-m", "server", "serve", model]
    cache = {"DIRECTORY": str(cache_folder)} if cache_folder else {"MEMORY_BYTES": "0"}
    environment = {f"RWKV_SERVER_CACHE_{key}": value for key, value in cache.items()}
    return ServerProcess([*command, "--dtype", dtype, "--threads", threads], environment)


def llama_server(
    program: Path, model: Path, threads: int, slots: int, context: int
) -> ServerProcess:
    """llama-server on a GGUF file: `slots` sequences at once, each of up to `context` tokens.

    It computes every prompt, as ours does without a state cache.
    """
    command = [program, "--model", model, "--threads", threads]
    command += ["--parallel", slots, "--ctx-size", slots * context]
    return ServerProcess([*command, "--no-cache-prompt", "--cache-ram", 0, "--ctx-checkpoints", 0])


def caching_llama_server(
    program: Path, model: Path, threads: int, context: int, slot_folder: Path
) -> ServerProcess:
    """llama-server with its caches, slots and checkpoints at their defaults."""
    command = [program, "--model", model, "--threads", threads, "--ctx-size", context]
    return ServerProcess([*command, "--slot-save-path", slot_folder])
