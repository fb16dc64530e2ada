"""The API process: reads the models, starts the workers, listens, and stops in order."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn
from fastapi import FastAPI

from server.access.keys import Keys
from server.access.loopback import is_loopback
from server.api.app import background_of, create_app, metrics_of
from server.api.batches import Batches, open_batches
from server.api.connection_limit import with_enough_files
from server.api.conversations import open_conversations
from server.api.responses.background import Background
from server.api.slow_clients import SlowClients, slow_clients
from server.api.states import open_states
from server.checkpoints.checkpoint import CheckpointError
from server.config import Settings, SettingsError
from server.machine.disk import with_disk_tier
from server.pool.client import EngineClient
from server.pool.pool import WorkerPool
from server.pool.process import WorkerError
from server.protocol.messages import ModelSpec
from server.registry.manager import ModelManager
from server.registry.reconfigure import Rereader
from server.startup_display import StartupDisplay
from server.telemetry.tracing import tracing

log = logging.getLogger(__name__)

_BACKLOG = 2048
_CLOSING_SECONDS = 5  # for clients to take in the end of their streams
_SEND_BUFFER_BYTES = 128 << 10
"""Of a connection, in the kernel, which doubles it. Its own choice can be megabytes, thousands of
tokens: then nearly any answer would be computed for a client that does not read it."""


def serve(settings: Settings, read_settings: Callable[[], Settings]) -> int:
    """Serve until a signal or a failure. Returns the exit code; raises for what the user can mend.

    CheckpointError, TokenizerError and SettingsError (a port in use, a broken keys file, packages
    that traces need) come before any process starts. On SIGHUP `read_settings` reads the settings
    again; it raises SettingsError.
    """
    started = time.monotonic()
    keys = Keys(settings.http)
    display = StartupDisplay()

    running = with_disk_tier(settings)

    def make_workers(model: ModelSpec, workers: int, client: EngineClient) -> WorkerPool:
        return WorkerPool(running, model, workers, client, display.update)

    manager = ModelManager(settings, make_workers)
    manager.open()
    if settings.logging.prompts:
        log.warning("logging.prompts is on: prompts and answers are written to the log")
    is_guarded = keys.required or settings.http.allow_no_keys
    with (
        contextlib.closing(_listen(settings.http.host, settings.http.port, is_guarded)) as listener,
        contextlib.closing(open_states(settings.states)) as states,
        contextlib.closing(open_conversations(settings.responses)) as kept,
        contextlib.closing(open_batches(settings)) as batches,
        tracing(settings.tracing) as tracer,
    ):
        app = create_app(settings, manager, states, kept, batches, keys, tracer)
        server = _Server(settings, app, manager, batches)
        rereader = Rereader(manager, settings, read_settings)
        background = background_of(app)
        life = _run(
            server, manager, batches, rereader, background, keys, display, listener, started
        )
        keep_out_of_collections()
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            return runner.run(life)


def keep_out_of_collections() -> None:
    """Let the collector of garbage pass over what there is by now: it stays until the end.

    Modules, routes and vocabularies are hundreds of thousands of objects. Whoever makes the server
    keep some ten thousand more, such as a request of 2,048 texts, would have all of them visited
    again and again, while nothing else runs: 0.2 s of a processor each time.
    """
    gc.collect()
    gc.freeze()


async def _run(
    server: "_Server",
    manager: ModelManager,
    batches: Batches,
    rereader: Rereader,
    background: Background,
    keys: Keys,
    display: StartupDisplay,
    listener: socket.socket,
    started: float,
) -> int:
    _handle_signals(server, rereader, keys)
    url = _url_of(listener)
    log.info("listening on %s, loading %s", url, manager.default)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    rereading = asyncio.create_task(rereader.run())
    keeping = asyncio.create_task(background.keep())
    try:
        with display:
            await _unless_stopped(asyncio.create_task(manager.start()), serving)
        if manager.started:
            keep_out_of_collections()  # the models, too
            _tell_ready(manager, time.monotonic() - started, url)
            batches.start()
        await serving
        return 0
    except (WorkerError, CheckpointError) as error:
        if manager.closed:
            return 0  # a worker that is not needed any more may end as it likes
        return _tell_failure(error)
    finally:
        server.should_exit = True
        rereading.cancel()
        manager.close()
        await batches.stop()
        await serving
        keeping.cancel()
        await asyncio.gather(rereading, keeping, return_exceptions=True)
        await background.stop()
        await manager.stop()


def _url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _tell_ready(manager: ModelManager, seconds: float, url: str) -> None:
    loaded = ", ".join(m.entry.id for m in manager.models.values() if m.deployment)
    log.info("ready in %.1f s; serving %s on %s/v1", seconds, loaded, url)


def _tell_failure(error: WorkerError | CheckpointError) -> int:
    log.error("%s", error)
    return error.exit_code if isinstance(error, WorkerError) else 2


def _handle_signals(server: "_Server", rereader: Rereader, keys: Keys) -> None:
    had_terminal = sys.stderr.isatty()

    def on_hangup() -> None:
        # Nobody wants a server in the foreground to go on when its terminal is closed.
        if had_terminal and not sys.stderr.isatty():
            server.handle_exit(signal.SIGHUP, None)
        else:
            keys.reread()  # at once: a key that is taken back must not wait for models to load
            rereader.wake()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.handle_exit, number, None)
    loop.add_signal_handler(signal.SIGHUP, on_hangup)


async def _unless_stopped(task: "asyncio.Task[None]", serving: "asyncio.Task[None]") -> None:
    """Await the task; it is given up if the HTTP server stops before."""
    await asyncio.wait([task, serving], return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    else:
        task.result()


class _Server(uvicorn.Server):
    """Uvicorn without its signal handling: the workers have to be ended too."""

    def __init__(
        self, settings: Settings, app: FastAPI, manager: ModelManager, batches: Batches
    ) -> None:
        super().__init__(_uvicorn_config(settings, app))
        self._grace_seconds = settings.http.shutdown_seconds
        self._drain_seconds = settings.http.drain_seconds
        self._manager = manager
        self._batches = batches

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def handle_exit(self, sig: int, _: FrameType | None) -> None:
        """Be unready, then stop accepting and let requests finish; a second signal waits for none.

        While models load no load balancer sends requests here, so there is nothing to drain.
        """
        name = signal.Signals(sig).name
        loop = asyncio.get_running_loop()
        if self._manager.closed:
            log.info("stopping at once on %s", name)
            self._end_requests()
            self.should_exit = True
            loop.call_later(_CLOSING_SECONDS, setattr, self, "force_exit", True)
            return
        drain = self._drain_seconds if self._manager.started else 0.0
        self._manager.close()
        self._batches.stop_computing()
        log.info(
            "stopping on %s in %g s; requests have %g s then", name, drain, self._grace_seconds
        )
        if drain:
            loop.call_later(drain, self._stop_accepting)
        else:
            self._stop_accepting()

    def _stop_accepting(self) -> None:
        asyncio.get_running_loop().call_later(self._grace_seconds, self._end_requests)
        self.should_exit = True

    def _end_requests(self) -> None:
        self._manager.deployments.fail_all("the server is shutting down")
        for connection in list(self.server_state.connections):
            if isinstance(connection, SlowClients) and connection.is_sending:
                connection.cut("the server is shutting down")


def _uvicorn_config(settings: Settings, app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=slow_clients(
            settings.http, metrics_of(app), with_enough_files(settings.http.max_connections)
        ),
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=int(settings.http.shutdown_seconds) + _CLOSING_SECONDS,
    )


def _listen(host: str, port: int, is_guarded: bool) -> socket.socket:
    """A listening socket. Raises SettingsError when the address cannot be had.

    Without a guard it must be an address that only this machine reaches.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        if not is_guarded and not is_loopback(str(address[0])):
            raise SettingsError(
                f"http.host {host}: others could reach it, and there are no API keys; set "
                "http.keys_file or RWKV_SERVER_HTTP_API_KEY, or let everybody in with --no-auth "
                "(http.allow_no_keys = true)"
            )
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SettingsError(f"http.host {host}: {error.strerror or error}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"http.port {port} on {host}: {error.strerror or error}; choose another with --port"
        ) from None
    return listener
