"""The HTTP application."""

from functools import partial

from fastapi import FastAPI

from server.access.admission import Admission
from server.access.keys import Keys
from server.api.access import Authentication
from server.api.batch_lines import BatchLines
from server.api.batches import Batches
from server.api.conversations import Conversations
from server.api.cross_origin import let_pages_call
from server.api.dependencies import Service
from server.api.description import describe, unique_id
from server.api.errors import install_error_handlers
from server.api.middleware import BodyLimit, RequestContext
from server.api.read_ahead import ReadAhead
from server.api.request_metrics import RequestMetrics
from server.api.responses.background import Background
from server.api.routes import (
    admin,
    batches,
    cache,
    chat,
    completions,
    conversations,
    embeddings,
    files,
    health,
    messages,
    metrics,
    models,
    ollama,
    rerank,
    responses,
    states,
    tokens,
)
from server.api.states import States
from server.api.tracing import Tracer
from server.config import Settings
from server.grammars.checker import GrammarChecker
from server.registry.manager import ModelManager

FOR_CLIENTS = (
    *(models, completions, chat, responses, conversations),
    *(messages, ollama, embeddings, rerank, tokens, states, files, batches, health),
)
OPERATIONS = (admin, cache, metrics)
"""For those who run the server."""


def create_app(
    settings: Settings,
    manager: ModelManager,
    named_states: States,
    kept: Conversations,
    kept_batches: Batches,
    keys: Keys,
    tracer: Tracer | None = None,
) -> FastAPI:
    """An ASGI app over models, stores and a tracer that someone else opens, starts and closes.

    Responses in the background need someone who runs background_of(app).keep().
    """
    app = _bare_app()
    request_metrics = RequestMetrics()
    read_ahead = ReadAhead(settings.cache)
    admission = Admission(settings.limits)
    checker = GrammarChecker()
    made_with = kept, read_ahead, request_metrics, admission, checker
    app.state.service = Service(
        settings=settings,
        models=manager,
        states=named_states,
        batches=kept_batches,
        read_ahead=read_ahead,
        metrics=request_metrics,
        conversations=kept,
        background=Background(settings, manager, *made_with),
        grammars=checker,
    )
    kept_batches.compute_with(BatchLines(app, keys, settings).answer, settings)
    install_error_handlers(app)
    operations = () if settings.http.admin == "off" else OPERATIONS
    for module in (*FOR_CLIENTS, *operations):
        app.include_router(module.router)
    _add_middleware(app, settings, manager, keys, admission, tracer)
    return app


def _bare_app() -> FastAPI:
    # No documentation pages: they load their scripts from elsewhere. No redirects of trailing
    # slashes: behind a proxy they would point to the wrong place.
    app = FastAPI(
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=unique_id,
    )
    describe(app)
    return app


def _add_middleware(
    app: FastAPI,
    settings: Settings,
    manager: ModelManager,
    keys: Keys,
    admission: Admission,
    tracer: Tracer | None,
) -> None:
    # The last one added is the outermost.
    app.add_middleware(
        BodyLimit,
        max_bytes=partial(_max_body_bytes, settings, manager),
        silence=settings.http.slow_sender_seconds,
    )
    # Before the limit of bodies: strangers' bodies are not read at all.
    app.add_middleware(Authentication, keys=keys, admission=admission)
    app.add_middleware(
        RequestContext,
        metrics=app.state.service.metrics,
        logs_prompts=settings.logging.prompts,
        tracer=tracer,
    )
    let_pages_call(app, settings.http.cors_origins)


def background_of(app: FastAPI) -> Background:
    """The responses that an app makes in the background."""
    service = app.state.service
    assert isinstance(service, Service)
    return service.background


def _max_body_bytes(settings: Settings, manager: ModelManager, path: str) -> int:
    if path == states.IMPORT_PATH:
        return manager.largest_state or settings.http.max_body_bytes
    if path == files.FILES_PATH:
        return settings.batches.max_file_bytes + files.FORM_BYTES
    return settings.http.max_body_bytes
