"""The HTTP application."""

from fastapi import FastAPI

from server.access.admission import Admission
from server.access.keys import Keys
from server.api.access import Authentication
from server.api.batch_lines import BatchLines
from server.api.batches import Batches
from server.api.dependencies import Service
from server.api.errors import install_error_handlers
from server.api.middleware import BodyLimit, RequestContext
from server.api.read_ahead import ReadAhead
from server.api.request_metrics import RequestMetrics
from server.api.routes import (
    admin,
    batches,
    cache,
    chat,
    completions,
    files,
    health,
    metrics,
    models,
    states,
)
from server.api.states import States
from server.config import Settings
from server.registry.manager import ModelManager


def create_app(
    settings: Settings,
    manager: ModelManager,
    named_states: States,
    kept_batches: Batches,
    keys: Keys,
) -> FastAPI:
    """An ASGI app over models, states and batches that someone else opens, starts and closes."""
    # No documentation pages: they load their scripts from elsewhere. No redirects of trailing
    # slashes: behind a proxy they would point to the wrong place.
    app = FastAPI(title="rwkv-server", docs_url=None, redoc_url=None, redirect_slashes=False)
    request_metrics = RequestMetrics()
    read_ahead = ReadAhead(settings.cache)
    app.state.service = Service(
        settings, manager, named_states, kept_batches, read_ahead, request_metrics
    )
    kept_batches.compute_with(BatchLines(app, keys, settings).answer, settings)
    install_error_handlers(app)
    for module in (models, completions, chat, states, files, batches, health):
        app.include_router(module.router)
    if settings.http.admin != "off":
        for operation in (admin, cache, metrics):
            app.include_router(operation.router)

    def max_bytes(path: str) -> int:
        if path == states.IMPORT_PATH:
            return manager.largest_state or settings.http.max_body_bytes
        if path == files.FILES_PATH:
            return settings.batches.max_file_bytes + files.FORM_BYTES
        return settings.http.max_body_bytes

    app.add_middleware(BodyLimit, max_bytes=max_bytes)
    # Before the limit of bodies: strangers' bodies are not read at all.
    app.add_middleware(Authentication, keys=keys, admission=Admission(settings.limits))
    # The last one added is the outermost.
    app.add_middleware(RequestContext, metrics=request_metrics)
    return app
