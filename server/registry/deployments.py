"""The workers of all models: each deployment from its start until its last request has ended."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

from server.checkpoints.checkpoint import CheckpointError
from server.config import Settings
from server.pool.client import EngineClient
from server.pool.records import WorkerStatus
from server.protocol.cache_view import CacheReport
from server.protocol.engine_report import EngineReport
from server.protocol.messages import ModelSpec, Ready
from server.registry.catalogue import ModelEntry
from server.registry.served_model import ServedModel, stamp_files
from server.state_cache.encoding import SnapshotCodec

CacheReports = dict[str, dict[str, CacheReport | None]]
"""Model → worker → its state cache; None of a worker that does not answer in time."""
EngineReports = dict[str, dict[str, EngineReport | None]]
"""The same of its engine."""


class Workers(Protocol):
    """What a deployment needs of its processes; server.pool.pool says what each does."""

    async def start(self) -> list[Ready]:
        """Return when all are ready; raises WorkerError. One that ends later is started again."""

    async def stop(self) -> None:
        """End all."""

    def status(self) -> list[WorkerStatus]:
        """Of all that there should be."""


MakeWorkers = Callable[[ModelSpec, int, EngineClient], Workers]
"""The workers of a model, so many (0: as the settings say), which answer to a client."""


class Deployment:
    """A model with workers: what a reload replaces as a whole."""

    def __init__(
        self, entry: ModelEntry, served: ServedModel, client: EngineClient, workers: Workers
    ) -> None:
        self.entry = entry
        self.served = served
        self.client = client
        self.workers = workers
        self.ready: list[Ready] = []
        """What the workers said of themselves, once they are ready."""
        self._leases = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def codec(self) -> SnapshotCodec:
        """Of the states of its workers, which are ready."""
        served = self.served
        return SnapshotCodec(self.ready[0].fingerprint, served.state_shapes, served.vocab_size)

    @contextlib.contextmanager
    def lease(self) -> Iterator[None]:
        """Within it the workers are not ended for a reload or unload."""
        self._leases += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._leases -= 1
            if not self._leases:
                self._idle.set()

    async def wait_until_idle(self, seconds: float) -> None:
        """Return when there are no leases, or after so long."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)


class Deployments:
    """Starts and ends deployments, and knows all that have processes."""

    def __init__(self, settings: Settings, make_workers: MakeWorkers) -> None:
        # Lines of batches have their own admission: they take no place of a request's.
        self._max_requests = settings.limits.max_requests + settings.batch_requests
        self._slots = settings.engine.max_batch
        self._grace_seconds = settings.http.shutdown_seconds
        self._make_workers = make_workers
        self._alive: list[Deployment] = []
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def active_requests(self) -> int:
        """Running and waiting requests of all models, also of those that are being unloaded."""
        return sum(deployment.client.active_requests for deployment in self._alive)

    def active_requests_of(self, model_id: str) -> int:
        """Those of one model."""
        mine = (each for each in self._alive if each.entry.id == model_id)
        return sum(deployment.client.active_requests for deployment in mine)

    def create(self, entry: ModelEntry, served: ServedModel) -> Deployment:
        """A deployment that start() will make ready."""
        client = EngineClient(self._max_requests, lambda: self.active_requests, self._slots)
        workers = self._make_workers(served.spec, entry.options.workers, client)
        deployment = Deployment(entry, served, client, workers)
        self._alive.append(deployment)
        return deployment

    async def start(self, deployment: Deployment) -> None:
        """Raises WorkerError or CheckpointError, and nothing is left of it then."""
        try:
            deployment.ready = await deployment.workers.start()
            # A worker that read another vocabulary than this process would compute nonsense.
            served = deployment.served
            if stamp_files(served.spec) != served.stamp:
                raise CheckpointError(
                    f"{served.spec.path or served.spec.id}: its files changed "
                    "while it was loaded; load it again when they are complete"
                )
        except BaseException:
            await self._end(deployment)
            raise

    def retire(self, deployment: Deployment, reason: str) -> "asyncio.Task[None]":
        """End it in the background: its requests may finish for as long as at a shutdown.

        Those that do not are ended with `reason`, and what no client waits for at once.
        """
        deployment.client.refuse_background()
        task = asyncio.create_task(self._retire(deployment, reason))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        return task

    async def cache_reports(self, clear: bool = False, clear_shared: bool = False) -> CacheReports:
        """The state caches of all workers of the models that take requests, emptied if asked to."""
        serving = {each.entry.id: each.client for each in self._alive if each.client.ready}
        waits = (client.cache_reports(clear, clear_shared) for client in serving.values())
        return dict(zip(serving, await asyncio.gather(*waits), strict=True))

    async def engine_reports(self) -> EngineReports:
        """The engines of all workers of the models that take requests."""
        serving = {each.entry.id: each.client for each in self._alive if each.client.ready}
        waits = (client.engine_reports() for client in serving.values())
        return dict(zip(serving, await asyncio.gather(*waits), strict=True))

    def worker_status(self) -> dict[str, list[WorkerStatus]]:
        """Model → its workers; after a reload, those that took over."""
        return {each.entry.id: each.workers.status() for each in self._alive if each.ready}

    def fail_all(self, error: str) -> None:
        """End every request: the server is about to."""
        for deployment in self._alive:
            deployment.client.fail_all(error)

    async def stop(self) -> None:
        """End all workers. Nothing may be started meanwhile or later."""
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        await asyncio.gather(*(self._end(deployment) for deployment in list(self._alive)))

    async def _retire(self, deployment: Deployment, reason: str) -> None:
        await deployment.wait_until_idle(self._grace_seconds)
        deployment.client.fail_all(reason)
        await self._end(deployment)

    async def _end(self, deployment: Deployment) -> None:
        await deployment.workers.stop()
        if deployment in self._alive:
            self._alive.remove(deployment)
