"""All models of the server: found by name, started, changed while it runs, and stopped."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from server.checkpoints.checkpoint import CheckpointError
from server.config import Settings, SettingsError
from server.config_models import NamedModelSettings
from server.pool.client import EngineClient, NotReadyError, OutputStream
from server.pool.process import WorkerError
from server.protocol.task import Task
from server.registry.catalogue import ModelEntry, check_names, read_catalogue
from server.registry.deployments import Deployments, MakeWorkers
from server.registry.hosted_model import HostedModel, ModelConflictError, OpenModel
from server.registry.served_model import ServedModel, open_model
from server.registry.within_directories import check_within
from server.state_cache.encoding import SnapshotCodec
from server.tokenizer.base import TokenizerError

LOAD_ERRORS = (CheckpointError, TokenizerError, SettingsError, WorkerError, OSError, MemoryError)
"""What loading a model can fail with: one line each."""

_NAMES_SHOWN = 5


class UnknownModelError(Exception):
    """No model has this name: one line."""


class NotLoadedError(Exception):
    """The model is known, but not loaded: one line that says how to load it."""


class StoppingError(Exception):
    """The server stops before a change of its models is done."""


@dataclass(frozen=True)
class Route:
    """Where the requests for a name go."""

    id: str
    """The model's id; with the initial state, if the name has one."""
    served: ServedModel
    initial_state: str
    client: EngineClient

    codec: SnapshotCodec
    lease: Callable[[], contextlib.AbstractContextManager[None]]
    """For what goes on after the request: within it the workers stay."""

    def submit(self, task: Task, key: str = "") -> OutputStream:
        """Start a request. Raises NotReadyError or QueueFullError; never waits.

        A task without a base begins with the initial state of the name. Requests with the same key
        should go to the same worker.
        """
        return self.client.submit(self._begun(task), key)

    def submit_background(self, task: Task) -> OutputStream | None:
        """Start what no client waits for, as EngineClient does, with the same initial state."""
        return self.client.submit_background(self._begun(task))

    def submit_admitted(self, task: Task) -> OutputStream:
        """Go on with a request that was submitted here and has finished. Raises NotReadyError."""
        return self.client.submit_admitted(self._begun(task))

    def _begun(self, task: Task) -> Task:
        state = "" if task.base else self.initial_state
        return msgspec.structs.replace(task, initial_state=state)


class ModelManager:
    """Owns every model and its workers.

    open() and start() bring up what is to be preloaded; load(), reload() and unload() are the
    changes that /v1/admin asks for, one at a time for each model; close() and stop() end it all.
    """

    def __init__(
        self, settings: Settings, make_workers: MakeWorkers, open_model: OpenModel = open_model
    ) -> None:
        """Raises what read_catalogue raises."""
        catalogue = read_catalogue(settings)
        self.default = catalogue.default
        self.directories = settings.model.directories
        self.deployments = Deployments(settings, make_workers)
        self._started = asyncio.Event()
        self.models: dict[str, HostedModel] = {}
        self._open_model = open_model
        self._changes: dict[str, asyncio.Task[None]] = {}
        self._closed = False
        for entry in catalogue.entries.values():
            self.add(entry)

    def add(self, entry: ModelEntry) -> HostedModel:
        """Make a model known; it is not loaded."""
        self.models[entry.id] = HostedModel(entry, self.deployments, self._open_model)
        return self.models[entry.id]

    @property
    def started(self) -> bool:
        """Whether all that is to be preloaded has been loaded."""
        return self._started.is_set()

    async def wait_until_started(self) -> None:
        """Return when it is."""
        await self._started.wait()

    @property
    def closed(self) -> bool:
        """Whether the server is about to stop."""
        return self._closed

    @property
    def waiting_for(self) -> str:
        """Why the server takes no requests; empty when it does."""
        if self._closed:
            return "the server is shutting down"
        deployments = [m.deployment for m in self.models.values() if m.deployment]
        closed = [each for each in deployments if not each.client.ready]
        if self.started and deployments and not closed:
            return ""
        loading = [model.detail for model in self.models.values() if model.state == "loading"]
        failing = [f"{each.entry.id}: {each.client.detail}" for each in closed]
        return (loading + failing + ["no model is loaded"])[0]

    def find(self, name: str) -> tuple[HostedModel, str]:
        """The model of an id or alias, and the initial state of ID:STATE; "" is the default.

        A tag ":latest" is as if it were not there. Raises UnknownModelError.
        """
        # Ollama's clients add its usual tag to all names.
        for each in (name or self.default, name.removesuffix(":latest")):
            if (model := self._named(each)) is not None:
                return model, ""
            base, _, state = each.rpartition(":")
            model = self._named(base or self.default)
            if model is not None and state in model.states:
                return model, state
        message = f"The model {name[:200]!r} does not exist; this server has {_shown(self.models)}"
        base, colon, _ = name.rpartition(":")
        if colon and (model := self._named(base or self.default)) is not None:
            states = _shown(model.states) or "none"
            message += f", and of {model.entry.id!r} these initial states: {states}"
        raise UnknownModelError(message)

    @contextlib.contextmanager
    def lease(self, name: str) -> Iterator[Route]:
        """The route of a name; its workers stay until the context is left.

        Raises UnknownModelError, NotLoadedError or NotReadyError.
        """
        model, state = self.find(name)
        ident, deployment = model.entry.id, model.deployment
        if deployment is None and model.state == "loading":
            raise NotReadyError(model.detail)
        if deployment is None:
            raise NotLoadedError(
                # Why a load failed is the operator's to know: it may name files.
                f"The model {ident!r} is not loaded ({model.state}); the operator can load it: "
                f'POST /v1/admin/models/load {{"id": "{ident}"}}'
            )
        with deployment.lease():
            name = f"{ident}:{state}" if state else ident
            yield Route(
                name,
                deployment.served,
                state,
                deployment.client,
                deployment.codec,
                deployment.lease,
            )

    @property
    def largest_state(self) -> int:
        """Most bytes of an exported state of a loaded model; 0 when none is loaded."""
        codecs = filter(None, map(self.codec_of, self.models))
        return max((codec.largest_file_bytes for codec in codecs), default=0)

    def codec_of(self, ident: str) -> SnapshotCodec | None:
        """Of a model's states, by its id; None when it is not loaded."""
        model = self.models.get(ident)
        return model.deployment.codec if model and model.deployment else None

    def open(self) -> None:
        """Read what is to be preloaded, all but the weights. Raises like open_model."""
        for model in self.models.values():
            if model.entry.options.preload:
                model.open()

    async def start(self) -> None:
        """Load what was opened, one after another. Raises what loading raises."""
        for model in list(self.models.values()):
            if model.state == "loading":
                await model.load()
        self._started.set()

    def check_within(self, name: str, changes: dict[str, Any]) -> None:
        """Raises OutsideError when load() would read what only the settings may name."""
        known = self._named(name)
        check_within(self.directories, known.entry.options if known else None, changes)

    async def load(self, name: str, changes: dict[str, Any]) -> HostedModel:
        """Load a model that is known, or a new one, with other options than the settings say.

        Raises UnknownModelError, ModelConflictError, StoppingError, and LOAD_ERRORS.
        """
        known = self._named(name)
        if known is None and "path" not in changes:
            self.find(name)  # says that there is no such model
        entry = known.entry if known else ModelEntry(name, NamedModelSettings(), by_admin=True)
        self._check_turn(entry.id)
        entry = replace(entry, options=entry.options.model_copy(update=changes))
        others = [m.entry for m in self.models.values() if m.entry.id != entry.id]
        check_names([*others, entry])
        if known is not None:
            await self._change(entry.id, known.load(entry))
            return known
        model = self.add(entry)
        await self._change(entry.id, self._load_new(model))
        return model

    async def reload(self, name: str) -> HostedModel:
        """Load a model anew without an interruption. Raises like load()."""
        model = self.find(name)[0]
        self._check_turn(model.entry.id)
        await self._change(model.entry.id, model.reload())
        return model

    async def unload(self, name: str) -> HostedModel:
        """Unload a model when its requests are done. Raises like load()."""
        model = self.find(name)[0]
        self._check_turn(model.entry.id)
        await self._change(model.entry.id, model.unload())
        return model

    def close(self) -> None:
        """Give up changes that are under way: the server stops."""
        self._closed = True
        for task in self._changes.values():
            task.cancel()

    async def stop(self) -> None:
        """End all workers."""
        self.close()
        await asyncio.gather(*self._changes.values(), return_exceptions=True)
        await self.deployments.stop()

    def _named(self, name: str) -> HostedModel | None:
        if name in self.models:
            return self.models[name]
        for model in self.models.values():
            if name in model.entry.options.aliases:
                return model
        return None

    async def _load_new(self, model: HostedModel) -> None:
        try:
            await model.load()
        except BaseException:
            del self.models[model.entry.id]
            raise

    def _check_turn(self, ident: str) -> None:
        if not self.started or self._closed:
            raise ModelConflictError("the server is starting or stopping; try again later")
        if ident in self._changes or (ident in self.models and self.models[ident].busy):
            raise ModelConflictError(
                f"the model {ident!r} is being loaded or unloaded; try again later"
            )

    async def _change(self, ident: str, work: Coroutine[Any, Any, None]) -> None:
        """Do it in a task of its own: a client that leaves does not leave it half done."""
        task = self._changes[ident] = asyncio.create_task(work)
        task.add_done_callback(lambda task: self._forget(ident, task))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise StoppingError("the server is shutting down") from None
            raise

    def _forget(self, ident: str, task: "asyncio.Task[None]") -> None:
        del self._changes[ident]
        if not task.cancelled():
            task.exception()  # the handler that waits for it may be gone


def _shown(names: Iterable[str]) -> str:
    """The first of some names."""
    found = list(names)
    return ", ".join(map(repr, found[:_NAMES_SHOWN])) + (", …" if found[_NAMES_SHOWN:] else "")
