"""The worker processes of a model: started, given their cores, watched, and started again."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

import zmq
import zmq.asyncio

from server.cache_root import cache_root
from server.config import Settings
from server.home_folder import expanded
from server.machine.cores import cpu_sets, usable_cores
from server.machine.memory import available_bytes, resident_bytes
from server.pool.absolute_assignment import absolute_settings, absolute_spec
from server.pool.client import EngineClient
from server.pool.meeting_place import MeetingPlace
from server.pool.pool_tasks import PoolTasks
from server.pool.process import REFUSED, WorkerError, WorkerProcess
from server.pool.records import WorkerLink, WorkerStatus
from server.pool.restarts import Restarts
from server.protocol.messages import (
    Assignment,
    CacheAnswer,
    EngineAnswer,
    Failed,
    FromWorker,
    ModelSpec,
    Outputs,
    Ping,
    Progress,
    Ready,
    Shutdown,
    ToWorker,
    decode_from_worker,
    encode,
)
from server.temporary_files import PARTIAL_NAME, remove_abandoned

log = logging.getLogger(__name__)

_LOST = "%s (pid %d) %s; %d of its requests go on, %d are given up"

STOP_SECONDS = 5.0
_CACHE_SHARE = 10
_PING_SECONDS = 1.0
_START_PATIENCE = 5  # times engine.hang_seconds: a worker is silent until it has read its programs


class WorkerPool:
    """The processes of one model, behind its EngineClient.

    start() returns when all are ready. From then on one that ends, or hangs, is started again,
    and its requests go on. stop() ends all.
    """

    def __init__(
        self,
        settings: Settings,
        model: ModelSpec,
        workers: int,
        client: EngineClient,
        on_progress: Callable[[Progress], None],
    ) -> None:
        """0 workers: as engine.workers says."""
        self._settings = settings
        self._model = model
        self._cpu_sets = cpu_sets(workers or settings.engine.workers)
        self._client = client
        self._on_progress = on_progress
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.set(zmq.SNDHWM, 0)  # the client bounds what is in flight
        self._socket.set(zmq.RCVHWM, 0)
        self._socket.set(zmq.ROUTER_MANDATORY, 1)
        limit = settings.cache.memory_bytes
        total = limit if limit >= 0 else available_bytes() // _CACHE_SHARE
        self._cache_bytes = total // len(self._cpu_sets)
        self._place = MeetingPlace(self._socket)
        self._outbox: asyncio.Queue[tuple[bytes, ToWorker]] = asyncio.Queue()
        self._processes: dict[bytes, WorkerProcess] = {}
        self._restarts = Restarts(len(self._cpu_sets))
        self._starts = 0
        self._fingerprint = ""
        self._refusal = ""
        self._started = False
        self._messaging, self._keeping = PoolTasks(self._fail), PoolTasks(self._fail)

    async def start(self) -> list[Ready]:
        """Start all workers. The first compiles the kernels alone, the others find them cached.

        Raises WorkerError when one cannot start.
        """
        self._place.open()
        self._messaging.start(self._receive())
        self._messaging.start(self._send())
        self._keeping.start(self._watch())
        workers = [await self._launch(0)]
        others = (self._launch(index) for index in range(1, len(self._cpu_sets)))
        workers += await asyncio.gather(*others)
        for worker in workers:
            self._keeping.start(self._keep_up(worker))
        self._started = True
        self._client.open()
        return [worker.ready.result() for worker in workers]

    async def stop(self) -> None:
        """End all workers, by request and then by force. Only what this pool started is ended."""
        await self._keeping.cancel()  # nothing is started again
        processes = list(self._processes.values())
        for name, process in self._processes.items():
            if process.is_ready:
                self._outbox.put_nowait((name, Shutdown()))
            else:
                process.kill("it is not needed")  # it does not listen while it loads
        waits = [asyncio.create_task(process.wait()) for process in processes]
        if waits:
            await asyncio.wait(waits, timeout=STOP_SECONDS)
        for process in processes:
            if process.kill("the server ends") and process.is_ready:
                log.warning("%s did not end in %g s and was killed", process.title, STOP_SECONDS)
            await process.wait()
            process.ready.cancel()  # nobody will set those that start() still waits for
        self._remove_what_was_packed()
        await self._messaging.cancel()
        self._context.destroy(linger=0)
        self._place.close()

    def _remove_what_was_packed(self) -> None:
        """Half a file of packed weights, which a worker that was killed has left."""
        folder = self._settings.engine.cache_dir
        root = expanded(folder) if folder else cache_root()
        remove_abandoned(root / "weights", PARTIAL_NAME)

    def status(self) -> list[WorkerStatus]:
        """Of all workers, also of those that are away."""
        found = []
        processes = {process.index: process for process in self._processes.values()}
        for index in range(len(self._cpu_sets)):
            process = processes.get(index)
            ready = process is not None and process.is_ready
            memory = resident_bytes(process.pid) if process else None
            restarts = self._restarts.deaths(index)
            found.append(WorkerStatus(f"worker-{index}", ready, restarts, memory))
        return found

    async def _launch(self, index: int) -> WorkerProcess:
        """Start the worker of a place. Raises WorkerError, and it has ended then."""
        self._place.open()
        self._starts += 1
        name = f"worker-{index}.{self._starts}"
        routing_id = name.encode()
        link = WorkerLink(name, lambda message: self._outbox.put_nowait((routing_id, message)))
        assignment = self._assignment(index, name)
        cache_dir = self._settings.engine.cache_dir
        worker = await WorkerProcess.start(index, assignment, link, cache_dir)
        self._processes[routing_id] = worker
        try:
            ready = await worker.wait_until_ready()
            if self._fingerprint not in ("", ready.fingerprint):
                raise WorkerError(f"{self._model.path}: it has changed; reload it", REFUSED)
        except WorkerError:
            await self._end(worker)
            raise
        self._fingerprint = ready.fingerprint
        self._restarts.became_ready(index)
        self._client.add(link)
        return worker

    async def _end(self, worker: WorkerProcess) -> None:
        worker.kill("it could not start")
        await worker.wait()
        self._forget(worker)

    def _forget(self, worker: WorkerProcess) -> None:
        del self._processes[worker.link.name.encode()]

    def _assignment(self, index: int, name: str) -> Assignment:
        cpus, threads = self._cpu_sets[index], self._settings.engine.threads
        return Assignment(
            name=name,
            address=self._place.address,
            threads=threads or len(cpus) or max(1, usable_cores() // len(self._cpu_sets)),
            cpus=cpus,
            cache_bytes=self._cache_bytes,
            model=absolute_spec(self._model),
            settings=absolute_settings(self._settings).model_dump_json(),
        )

    async def _keep_up(self, worker: WorkerProcess) -> None:
        """Start a worker again whenever it ends."""
        while True:
            await worker.wait()
            self._forget(worker)
            loss = self._client.lose(worker.link)
            if loss.failed:
                self._restarts.forgive()
            log.warning(_LOST, worker.title, worker.pid, worker.how_it_ended, *loss)
            worker = await self._start_again(worker.index, worker.title)
            log.info("%s is back (pid %d)", worker.title, worker.pid)

    async def _start_again(self, index: int, title: str) -> WorkerProcess:
        while True:
            delay = self._restarts.died(index)
            self._judge()
            log.info("%s is started again in %g s", title, delay)
            await asyncio.sleep(delay)
            try:
                worker = await self._launch(index)
            except (WorkerError, OSError) as error:
                log.warning("%s could not be started: %s", title, error)
                refused = isinstance(error, WorkerError) and error.exit_code == REFUSED
                self._refusal = str(error) if refused else ""
            else:
                self._refusal = ""
                self._judge()
                return worker

    def _judge(self) -> None:
        """Whether requests are taken: they wait for a restart, but not for one that fails."""
        if self._restarts.looping:
            self._close("its workers end again and again; the log says how")
        elif self._client.workers:
            was_ready = self._client.ready
            self._client.open()
            if self._client.ready and not was_ready:
                log.info("%s takes requests again", self._model.id)
        elif self._refusal:
            self._close("it could not be started again; the log says why", self._refusal)

    def _close(self, detail: str, reason: str = "") -> None:
        """Clients get the detail; the log also gets a reason, which may name files."""
        if self._client.ready:
            log.error("%s takes no requests: %s", self._model.id, reason or detail)
        self._client.close(detail)

    def _fail(self, error: BaseException) -> None:
        """End all requests and starts: one of the tasks that they wait for has ended by mistake."""
        log.error("%s takes no requests: unexpected error", self._model.id, exc_info=error)
        reason = "the server had an internal error; its log says more"
        self._client.fail_all(reason)
        for worker in self._processes.values():
            worker.fail(WorkerError(f"{worker.title}: {reason}", exit_code=1))

    async def _watch(self) -> None:
        """Ping the workers that are ready, and kill those that hang, also while they start."""
        hang_seconds = self._settings.engine.hang_seconds
        interval = min(_PING_SECONDS, hang_seconds / 4)
        last = time.monotonic()
        while True:
            await asyncio.sleep(interval)
            now = time.monotonic()
            # While this process stood still, it could not hear anything.
            passed, last = min(now - last, 2 * interval), now
            for name, worker in self._processes.items():
                limit = hang_seconds * (1 if worker.is_ready else _START_PATIENCE)
                silence = worker.add_silence(passed)
                if silence > limit:
                    worker.kill(f"it has said nothing for {limit:g} s")
                elif worker.is_ready and silence == passed:  # it has answered the ping before
                    self._outbox.put_nowait((name, Ping()))
            if self._started:
                self._judge()

    async def _send(self) -> None:
        while True:
            name, message = await self._outbox.get()
            # A worker that is gone cannot be reached; its requests go on elsewhere.
            with contextlib.suppress(zmq.ZMQError):
                await self._socket.send_multipart([name, encode(message)])

    async def _receive(self) -> None:
        while True:
            name, payload = await self._socket.recv_multipart()
            worker = self._processes.get(name)
            if worker is not None:  # else its end came before its last words, and they are void
                worker.heard()
                self._take_in(worker, decode_from_worker(payload))

    def _take_in(self, worker: WorkerProcess, message: FromWorker) -> None:
        match message:
            case Outputs(outputs):
                self._restarts.computed(worker.index, outputs)
                self._client.deliver(worker.link, outputs)
            case CacheAnswer(query_id, report):
                self._client.inquiries.answer(query_id, report)
            case EngineAnswer(query_id, report):
                self._client.engine_inquiries.answer(query_id, report)
            case Progress():
                if not self._started:
                    self._client.detail = message.stage
                self._on_progress(message)
            case Ready() if not worker.ready.done():
                worker.ready.set_result(message)
            case Failed(error):
                worker.fail(WorkerError(error, REFUSED))
