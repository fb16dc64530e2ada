"""The API process: checks the model, starts the workers, listens, and stops in order."""

import asyncio
import contextlib
import hashlib
import logging
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TypeVar

import uvicorn

from server.api.app import create_app
from server.api.served_model import ServedModel
from server.checkpoints.checkpoint import Checkpoint
from server.checkpoints.hub import local_path
from server.checkpoints.locate import choose_tokenizer, locate
from server.checkpoints.reader import open_checkpoint
from server.config import Settings, SettingsError
from server.model.config import ModelConfig, read_config
from server.startup_display import StartupDisplay
from server.tokenizer.chat_template import ChatTemplate
from server.tokenizer.load import load_tokenizer
from server.version import VERSION
from server.workers.client import EngineClient
from server.workers.messages import Ready
from server.workers.pool import WorkerError, WorkerPool

T = TypeVar("T")
log = logging.getLogger(__name__)

_BACKLOG = 2048
_CLOSING_SECONDS = 5  # for clients to take in the end of their streams
_SAMPLES = 64
_SAMPLE_BYTES = 1 << 16


def serve(settings: Settings) -> int:
    """Serve until a signal or a failure. Returns the exit code; raises for what the user can mend.

    CheckpointError, TokenizerError and SettingsError (a port in use) come before any process
    starts.
    """
    path = local_path(settings.model.path)  # workers get what was found, and need no network
    settings = settings.model_copy(
        update={"model": settings.model.model_copy(update={"path": path})}
    )
    started = time.monotonic()
    files = locate(path, settings.model.tokenizer)
    checkpoint = open_checkpoint(files.checkpoint)
    config = read_config(checkpoint)
    spec = choose_tokenizer(files, config.vocab_size)
    served = ServedModel(
        id=settings.model.name or files.name,
        created=checkpoint.modified_ns // 10**9,
        tokenizer=load_tokenizer(spec, config.vocab_size, files.eos_token),
        chat_template=ChatTemplate(files.chat_template, files.bos_token, files.eos_token),
        generation=config.generation,
        system_fingerprint=_fingerprint(checkpoint.files, settings.model.dtype),
    )
    with contextlib.closing(_listen(settings.http.host, settings.http.port)) as listener:
        return asyncio.run(_run(settings, served, checkpoint, config, listener, started))


async def _run(
    settings: Settings,
    served: ServedModel,
    checkpoint: Checkpoint,
    config: ModelConfig,
    listener: socket.socket,
    started: float,
) -> int:
    client = EngineClient(settings.limits.max_requests)
    display = StartupDisplay()
    pool = WorkerPool(settings, client, display.update)
    server = _Server(
        _uvicorn_config(settings, create_app(settings, served, client)),
        settings.http.shutdown_seconds,
        lambda: client.fail_all("the server is shutting down"),
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, server.handle_exit, number, None)
    host, port = listener.getsockname()[:2]
    log.info("listening on http://%s:%d, loading %s", host, port, checkpoint.path)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        with display:
            ready = await _first(asyncio.create_task(pool.start()), serving)
        if ready is None:
            return 0  # told to stop while loading
        seconds = time.monotonic() - started
        _announce(served, config, ready, f"http://{host}:{port}", seconds)
        failure = await _first(asyncio.create_task(pool.wait_for_failure()), serving)
        if failure is None:
            return 0
        raise failure
    except WorkerError as error:
        log.error("%s", error)
        return error.exit_code
    finally:
        server.should_exit = True
        await serving
        await pool.stop()


async def _first(task: "asyncio.Task[T]", serving: "asyncio.Task[None]") -> T | None:
    """The task's result, or None if the HTTP server stops before it is there."""
    await asyncio.wait([task, serving], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        return task.result()
    task.cancel()
    return None


class _Server(uvicorn.Server):
    """Uvicorn without its signal handling: the workers have to be ended too."""

    def __init__(
        self, config: uvicorn.Config, grace_seconds: float, end_requests: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._grace_seconds = grace_seconds
        self._end_requests = end_requests

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop accepting, give running requests their time; a second SIGINT gives them none."""
        name = signal.Signals(sig).name
        log.info("stopping on %s; running requests have %g s", name, self._grace_seconds)
        asyncio.get_running_loop().call_later(self._grace_seconds, self._end_requests)
        super().handle_exit(sig, frame)


def _uvicorn_config(settings: Settings, app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=int(settings.http.shutdown_seconds) + _CLOSING_SECONDS,
    )


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises SettingsError when the address cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SettingsError(f"http.host {host}: {error.strerror or error}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"http.port {port} on {host}: {error.strerror or error}; choose another with --port"
        ) from None
    return listener


def _announce(
    served: ServedModel, config: ModelConfig, ready: list[Ready], url: str, seconds: float
) -> None:
    first = ready[0]
    log.info(
        "ready in %.1f s (weights %.1f s, kernels %.1f s)",
        *(seconds, first.load_seconds, first.compile_seconds),
    )
    log.info(
        "serving %s (%s, %.1f M parameters, %s, workers %d × threads %d) on %s/v1",
        *(served.id, config.generation, config.parameters / 1e6, first.dtype),
        *(len(ready), first.threads, url),
    )


def _fingerprint(files: tuple[Path, ...], dtype: str) -> str:
    """`fp_…` of the program's version, the weight type, and samples of the weights."""
    digest = hashlib.blake2b(f"{VERSION} {dtype} ".encode(), digest_size=6)
    samples = max(1, _SAMPLES // len(files))
    for path in files:
        size = path.stat().st_size
        digest.update(str(size).encode())
        with path.open("rb") as file:
            for sample in range(samples):
                file.seek(size * sample // samples)
                digest.update(file.read(_SAMPLE_BYTES))
    return f"fp_{digest.hexdigest()}"
