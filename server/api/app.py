"""The HTTP application."""

from fastapi import FastAPI

from server.access.admission import Admission
from server.access.keys import Keys
from server.api.access import Authentication
from server.api.dependencies import Service
from server.api.errors import install_error_handlers
from server.api.middleware import BodyLimit, RequestContext
from server.api.read_ahead import ReadAhead
from server.api.request_metrics import RequestMetrics
from server.api.routes import admin, cache, chat, completions, health, metrics, models, states
from server.api.states import States
from server.config import Settings
from server.grammars.checker import GrammarChecker
from server.registry.manager import ModelManager


def create_app(
    settings: Settings, manager: ModelManager, named_states: States, keys: Keys
) -> FastAPI:
    """An ASGI app over models and states that someone else opens and closes."""
    # No documentation pages: they load their scripts from elsewhere. No redirects of trailing
    # slashes: behind a proxy they would point to the wrong place.
    app = FastAPI(title="rwkv-server", docs_url=None, redoc_url=None, redirect_slashes=False)
    request_metrics = RequestMetrics()
    read_ahead = ReadAhead(settings.cache)
    app.state.service = Service(
        settings, manager, named_states, read_ahead, request_metrics, GrammarChecker()
    )
    install_error_handlers(app)
    for module in (models, completions, chat, states, health):
        app.include_router(module.router)
    if settings.http.admin != "off":
        for operation in (admin, cache, metrics):
            app.include_router(operation.router)

    def max_bytes(path: str) -> int:
        if path == states.IMPORT_PATH:
            return manager.largest_state or settings.http.max_body_bytes
        return settings.http.max_body_bytes

    app.add_middleware(BodyLimit, max_bytes=max_bytes)
    # Before the limit of bodies: strangers' bodies are not read at all.
    app.add_middleware(Authentication, keys=keys, admission=Admission(settings.limits))
    # The last one added is the outermost.
    app.add_middleware(RequestContext, metrics=request_metrics)
    return app
