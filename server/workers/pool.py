"""Starts the worker processes, carries their messages, and notices when one ends."""

import asyncio
import contextlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import zmq
import zmq.asyncio

from server.config import Settings
from server.workers.client import EngineClient, WorkerLink
from server.workers.cores import usable_cores
from server.workers.memory import available_bytes
from server.workers.messages import (
    Assignment,
    CacheAnswer,
    Failed,
    ModelSpec,
    Outputs,
    Progress,
    Ready,
    Shutdown,
    ToWorker,
    decode_from_worker,
    encode,
)

log = logging.getLogger(__name__)

STOP_SECONDS = 5.0
_EXIT_WITHOUT_MESSAGE_SECONDS = 0.2
_CACHE_SHARE = 10


class WorkerError(Exception):
    """A worker could not start or has ended: one line, and the exit code it deserves."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class WorkerPool:
    """The processes of one model, behind its EngineClient.

    start() returns when all are ready; wait_for_failure() when one has ended; stop() ends them.
    """

    def __init__(
        self,
        settings: Settings,
        model: ModelSpec,
        workers: int,
        client: EngineClient,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._settings = settings
        self._model = model
        self._workers = workers
        self._client = client
        self._on_progress = on_progress
        self._folder = Path(tempfile.mkdtemp(prefix="rwkv-server-"))  # only this user may enter
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.set(zmq.SNDHWM, 0)  # the client bounds what is in flight
        self._socket.set(zmq.RCVHWM, 0)
        self._socket.set(zmq.ROUTER_MANDATORY, 1)
        limit = settings.cache.memory_bytes
        total = limit if limit >= 0 else available_bytes() // _CACHE_SHARE
        self._cache_bytes = total // workers
        self._address = f"ipc://{self._folder}/workers"
        self._outbox: asyncio.Queue[tuple[bytes, ToWorker]] = asyncio.Queue()
        self._links: dict[bytes, WorkerLink] = {}
        self._ready: dict[bytes, asyncio.Future[Ready]] = {}
        self._processes: list[asyncio.subprocess.Process] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: asyncio.Future[WorkerError] = asyncio.get_running_loop().create_future()
        self._stopping = False

    async def start(self) -> list[Ready]:
        """Start all workers. The first compiles the kernels alone, the others find them cached.

        Raises WorkerError when one cannot start.
        """
        self._socket.bind(self._address)
        self._tasks = [asyncio.create_task(self._receive()), asyncio.create_task(self._send())]
        ready = [await self._start_worker(0)]
        others = (self._start_worker(index) for index in range(1, self._workers))
        ready += await asyncio.gather(*others)
        return ready

    async def wait_for_failure(self) -> WorkerError:
        """Return when a worker has ended that was not told to."""
        return await asyncio.shield(self._failure)

    async def stop(self) -> None:
        """End all workers, by request and then by force. Only what this pool started is ended."""
        self._stopping = True
        for name in self._links:
            self._outbox.put_nowait((name, Shutdown()))
        waits = [asyncio.create_task(process.wait()) for process in self._processes]
        if waits:
            await asyncio.wait(waits, timeout=STOP_SECONDS)
        for process in self._processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
        for ready in self._ready.values():
            ready.cancel()  # nobody will set those that start() still waits for
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._context.destroy(linger=0)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _start_worker(self, index: int) -> Ready:
        name = f"worker-{index}".encode()
        link = WorkerLink(send=lambda message: self._outbox.put_nowait((name, message)))
        self._links[name] = link
        self._ready[name] = asyncio.get_running_loop().create_future()
        process = await self._spawn(name)
        self._processes.append(process)
        self._tasks.append(asyncio.create_task(self._watch(process, name)))
        self._client.links.append(link)
        ready = await self._ready[name]
        link.ready = True
        return ready

    async def _spawn(self, name: bytes) -> asyncio.subprocess.Process:
        engine = self._settings.engine
        assignment = Assignment(
            name=name.decode(),
            address=self._address,
            cache_bytes=self._cache_bytes,
            threads=engine.threads or max(1, usable_cores() // self._workers),
            model=self._model,
            settings=self._settings.model_dump_json(),
        )
        environment = dict(os.environ)
        if engine.cache_dir:
            environment["NUMBA_CACHE_DIR"] = engine.cache_dir
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "server.workers.worker"),
            stdin=asyncio.subprocess.PIPE,
            env=environment,
        )
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(assignment) + b"\n")
        with contextlib.suppress(ConnectionError):  # it has ended already: _watch will say so
            await process.stdin.drain()
        return process

    async def _watch(self, process: asyncio.subprocess.Process, name: bytes) -> None:
        code = await process.wait()
        if self._stopping:
            return
        # Its last message may still be on the way, and it says more than the exit code.
        await asyncio.wait([self._failure], timeout=_EXIT_WITHOUT_MESSAGE_SECONDS)
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        who = f"{name.decode()} of {self._model.id}"
        self._fail(name, WorkerError(f"{who} {how}", exit_code=1))

    def _fail(self, name: bytes, error: WorkerError) -> None:
        self._client.fail(self._links[name], str(error))
        if not self._client.ready:
            self._client.detail = str(error)
        if not self._failure.done():
            self._failure.set_result(error)
        if not self._ready[name].done():
            self._ready[name].set_exception(error)

    async def _send(self) -> None:
        while True:
            name, message = await self._outbox.get()
            # A worker that is gone cannot be reached; _watch ends its requests.
            with contextlib.suppress(zmq.ZMQError):
                await self._socket.send_multipart([name, encode(message)])

    async def _receive(self) -> None:
        while True:
            name, payload = await self._socket.recv_multipart()
            message = decode_from_worker(payload)
            match message:
                case Outputs(outputs):
                    self._client.deliver(self._links[name], outputs)
                case CacheAnswer(query_id, report):
                    self._client.inquiries.answer(query_id, report)
                case Progress():
                    self._client.detail = message.stage
                    self._on_progress(message)
                case Ready() if not self._ready[name].done():
                    self._ready[name].set_result(message)
                case Failed(error):
                    self._fail(name, WorkerError(error, exit_code=2))
