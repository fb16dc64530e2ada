"""Brings the models of a running server to what new settings say."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from server.checkpoints.checkpoint import CheckpointError
from server.config import Settings, SettingsError
from server.registry.catalogue import ModelEntry, check_names, read_catalogue
from server.registry.hosted_model import HostedModel, ModelConflictError
from server.registry.manager import LOAD_ERRORS, ModelManager

log = logging.getLogger(__name__)

_READ_AGAIN = ("model", "models")


class Rereader:
    """Reads the settings again whenever it is woken, and brings the models to them."""

    def __init__(
        self, manager: ModelManager, settings: Settings, read_settings: Callable[[], Settings]
    ) -> None:
        """`settings` are those that the server runs with; `read_settings` raises SettingsError."""
        self._manager = manager
        self._settings = settings
        self._read_settings = read_settings
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Read them as soon as the server is ready and the reading before is done."""
        self._woken.set()

    async def run(self) -> None:
        """Go on until cancelled. What is wrong is logged, a line each."""
        while True:
            await self._woken.wait()
            await self._manager.wait_until_started()
            self._woken.clear()
            await self._reread()

    async def _reread(self) -> None:
        log.info("reading the settings again")
        try:
            settings = self._read_settings()
            for section in set(Settings.model_fields) - set(_READ_AGAIN):
                if getattr(settings, section) != getattr(self._settings, section):
                    log.warning("[%s] has changed: it takes effect at the next start", section)
            await reconfigure(self._manager, settings)
        except (SettingsError, CheckpointError) as error:
            log.error("the models stay as they are: %s", error)
        except Exception:  # the next reading may do better
            log.exception("the models could not be changed")
        else:
            log.info("the settings are read")


async def reconfigure(manager: ModelManager, settings: Settings) -> None:
    """Load new models, reload those whose entry or files changed, unload those that are gone.

    Raises SettingsError or CheckpointError before anything has changed. What fails later is
    logged, and leaves the model as it was. Models that /v1/admin made known stay.
    """
    # Folders may be large, or on a slow disk: requests go on meanwhile.
    wanted = await asyncio.to_thread(read_catalogue, settings)
    own = [model.entry for model in manager.models.values() if model.entry.by_admin]
    check_names([*wanted.entries.values(), *(e for e in own if e.id not in wanted.entries)])
    manager.directories = settings.model.directories
    for entry in wanted.entries.values():
        model = manager.models.get(entry.id)
        if model is not None:
            await _update(model, entry)
        elif entry.options.preload:
            await _try(entry.id, manager.add(entry).load())
        else:
            manager.add(entry)
    if manager.models[wanted.default].deployment is not None:
        manager.default = wanted.default
    for ident, model in list(manager.models.items()):
        if ident in wanted.entries or model.entry.by_admin:
            continue
        if ident == manager.default:
            log.error("model %s: stays, the new default model is not loaded", ident)
        elif model.deployment is None or await _try(ident, model.unload()):
            del manager.models[ident]


async def _update(model: HostedModel, entry: ModelEntry) -> None:
    try:
        differs = await asyncio.to_thread(model.differs, entry)
    except LOAD_ERRORS as error:
        log.error("model %s: %s", entry.id, error)
        return
    wanted = entry.options.preload and (model.entry != entry or model.state == "failed")
    if differs:
        await _try(entry.id, model.reload(entry))
    elif model.deployment is None and wanted:
        await _try(entry.id, model.load(entry))
    else:
        model.entry = entry


async def _try(ident: str, work: Awaitable[None]) -> bool:
    try:
        await work
    except (*LOAD_ERRORS, ModelConflictError) as error:
        log.error("model %s: %s", ident, str(error) or type(error).__name__)
        return False
    return True
