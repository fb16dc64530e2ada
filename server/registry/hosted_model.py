"""The life of one model: loaded, reloaded under its running requests, unloaded."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Literal

from server.home_folder import expanded
from server.protocol.messages import ModelSpec
from server.registry.catalogue import ModelEntry
from server.registry.deployments import Deployment, Deployments
from server.registry.served_model import ServedModel, stamp_files

log = logging.getLogger(__name__)

ModelState = Literal["available", "loading", "ready", "unloading", "failed"]

OpenModel = Callable[[ModelSpec], ServedModel]


class ModelConflictError(Exception):
    """What is asked for does not fit the state that the model is in: one line."""


class HostedModel:
    """A model that the server knows, whether or not it is loaded.

    Its changes come one after another. A failed one leaves what served before.
    """

    def __init__(self, entry: ModelEntry, deployments: Deployments, open_model: OpenModel) -> None:
        self.entry = entry
        self.state: ModelState = "available"
        self.served: ServedModel | None = None
        """As it was last opened; None when it is not loaded."""
        self.deployment: Deployment | None = None
        """What takes new requests."""
        self.loads = 0
        """How often it was loaded or reloaded."""
        self._error = ""
        self._deployments = deployments
        self._open_model = open_model
        self._starting: Deployment | None = None
        self._turn = asyncio.Lock()

    @property
    def busy(self) -> bool:
        """Whether it is being loaded, reloaded or unloaded."""
        return self._turn.locked()

    @property
    def detail(self) -> str:
        """What is being done, or why the last load or reload failed; else empty."""
        if self._starting is not None:
            return self._starting.client.detail
        return "waiting to be loaded" if self.state == "loading" else self._error

    @property
    def states(self) -> tuple[str, ...]:
        """The names of its initial states."""
        return tuple(self.served.spec.states if self.served else self.entry.options.states)

    @property
    def created(self) -> int:
        """Unix time of its file in seconds; 0 when that cannot be told."""
        if self.served is not None:
            return self.served.created
        path = self.entry.options.path
        try:
            return int(expanded(path).stat().st_mtime) if path else 0
        except OSError:
            return 0

    def differs(self, entry: ModelEntry) -> bool:
        """Whether what is loaded is not what the entry says, or its files have changed.

        Raises CheckpointError when a folder cannot be read.
        """
        if self.deployment is None:
            return False
        loaded = self.deployment.entry
        return (
            loaded.spec != entry.spec
            or loaded.options.workers != entry.options.workers
            or stamp_files(self.deployment.served.spec) != self.deployment.served.stamp
        )

    def open(self) -> None:
        """Read it before anything runs; load() goes on from there. Raises like open_model."""
        self.served = self._open_model(self.entry.spec)
        self.state = "loading"

    async def load(self, entry: ModelEntry | None = None) -> None:
        """Start workers, also of another entry. Raises ModelConflictError when it is loaded.

        Raises what open_model and Deployments.start raise; it keeps its entry then.
        """
        async with self._turn:
            if self.deployment is not None:
                raise ModelConflictError(f"the model {self.entry.id!r} is loaded: reload it")
            self.state = "loading"
            try:
                self.deployment = await self._deploy(entry or self.entry, self.served)
            except BaseException:
                self.state, self.served = "failed", None
                raise
            self.state = "ready"

    async def reload(self, entry: ModelEntry | None = None) -> None:
        """Start new workers, let them take over, and end the old ones when their work is done.

        Raises like load(); the old ones go on then.
        """
        async with self._turn:
            old = self.deployment
            if old is None:
                raise ModelConflictError(f"the model {self.entry.id!r} is not loaded; load it")
            self.deployment = await self._deploy(entry or self.entry, None)
            self._deployments.retire(old, f"the model {self.entry.id!r} was reloaded")

    async def unload(self) -> None:
        """Take no new requests, wait for the running ones, and end the workers."""
        async with self._turn:
            old = self.deployment
            if old is None:
                raise ModelConflictError(f"the model {self.entry.id!r} is not loaded")
            self.deployment, self.served = None, None
            self.state, self._error = "unloading", ""
            try:
                await self._deployments.retire(old, f"the model {self.entry.id!r} was unloaded")
            finally:
                self.state = "available"
            log.info("unloaded %s", self.entry.id)

    async def _deploy(self, entry: ModelEntry, opened: ServedModel | None) -> Deployment:
        started = time.monotonic()
        self._error = ""
        try:
            served = opened
            if served is None:
                served = await asyncio.to_thread(self._open_model, entry.spec)
            self._starting = deployment = self._deployments.create(entry, served)
            await self._deployments.start(deployment)
        except BaseException as error:
            self._error = str(error) or type(error).__name__
            raise
        finally:
            self._starting = None
        self.entry, self.served = entry, served
        self.loads += 1
        _log_loaded(deployment, time.monotonic() - started)
        return deployment


def _log_loaded(deployment: Deployment, seconds: float) -> None:
    served, first = deployment.served, deployment.ready[0]
    log.info(
        "loaded %s (%s, %.1f M parameters, %s, workers %d × threads %d) "
        "in %.1f s (weights %.1f s, kernels %.1f s, room for %.0f MB of cached states in memory)",
        served.spec.id,
        served.generation,
        served.parameters / 1e6,
        first.dtype,
        len(deployment.ready),
        first.threads,
        seconds,
        first.load_seconds,
        first.compile_seconds,
        sum(each.cache_bytes for each in deployment.ready) / 1e6,
    )
