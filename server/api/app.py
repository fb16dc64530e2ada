"""The HTTP application."""

from fastapi import FastAPI

from server.api.dependencies import Service
from server.api.errors import install_error_handlers
from server.api.middleware import BodyLimit, RequestContext
from server.api.routes import chat, completions, health, models
from server.api.served_model import ServedModel
from server.config import Settings
from server.workers.client import EngineClient


def create_app(settings: Settings, served: ServedModel, client: EngineClient) -> FastAPI:
    """An ASGI app over a client whose workers someone else starts and stops."""
    # No documentation pages: they load their scripts from elsewhere. No redirects of trailing
    # slashes: behind a proxy they would point to the wrong place.
    app = FastAPI(title="rwkv-server", docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.service = Service(settings, served, client)
    install_error_handlers(app)
    for module in (models, completions, chat, health):
        app.include_router(module.router)
    app.add_middleware(BodyLimit, max_bytes=settings.http.max_body_bytes)
    app.add_middleware(RequestContext)  # the last one added is the outermost
    return app
