"""The HTTP application."""

from functools import partial

from fastapi import FastAPI
from starlette.types import ASGIApp

from server.access.admission import Admission
from server.access.keys import Keys
from server.api.access import Authentication
from server.api.batch_lines import BatchLines
from server.api.batches import Batches
from server.api.bodies.decoding import BodyDecoding
from server.api.bodies.memory import BodyMemory
from server.api.conversations import Conversations
from server.api.cross_origin import let_pages_call
from server.api.dependencies import Service
from server.api.description import describe, unique_id
from server.api.errors import ApiError, error_response, install_error_handlers
from server.api.middleware import BodyLimit, Expectations, ProbesOnly, RequestContext
from server.api.paths import PathAliases, Paths
from server.api.read_ahead import ReadAhead
from server.api.responses.background import Background
from server.api.responses.connection_memory import LocalResponses
from server.api.routes import (
    admin,
    batches,
    cache,
    chat,
    chooses,
    compaction,
    completions,
    conversations,
    embeddings,
    files,
    health,
    llama_server,
    messages,
    metrics,
    models,
    ollama,
    rerank,
    responses,
    states,
    tokens,
    websocket,
)
from server.api.states import States
from server.api.text_threads import ClientWatch
from server.api.web_pages import HostCheck, OriginCheck
from server.config import Settings
from server.grammars.checker import GrammarChecker
from server.registry.manager import ModelManager
from server.telemetry.request_metrics import RequestMetrics
from server.telemetry.tracing import Tracer

FOR_CLIENTS = (
    *(models, completions, chat, compaction, responses, websocket, conversations),
    *(messages, ollama, llama_server, embeddings, rerank, chooses, tokens),
    *(states, files, batches, health),
)
OPERATIONS = (admin, cache, metrics)
"""For those who run the server."""
BODIES_AT_ONCE = 4
"""Bodies of http.max_body_bytes that are held in memory; smaller ones as many more."""


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
    app.state.service = Service(
        settings=settings,
        models=manager,
        states=named_states,
        batches=kept_batches,
        read_ahead=read_ahead,
        metrics=request_metrics,
        conversations=kept,
        background=Background(
            settings,
            manager,
            kept,
            named_states,
            read_ahead,
            request_metrics,
            admission,
            checker,
            keys,
        ),
        local_responses=LocalResponses(settings.responses.max_context_bytes),
        grammars=checker,
    )
    kept_batches.share(lambda: keys.are_several)
    named_states.share(lambda: keys.are_several)
    kept_batches.compute_with(BatchLines(app, keys, settings).answer, settings)
    install_error_handlers(app)
    _add_routes(app, settings)
    _add_middleware(app, settings, manager, keys, admission, tracer)
    return app


def _add_routes(app: FastAPI, settings: Settings) -> None:
    operations = () if settings.http.admin == "off" else OPERATIONS
    routes = list(app.routes)
    for module in (*FOR_CLIENTS, *operations):
        app.include_router(module.router)
        routes += module.router.routes
    app.state.paths = Paths(routes)


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
    _bound_bodies(app, settings, manager)
    # Before the limit of bodies: strangers' bodies are not read at all.
    app.add_middleware(Authentication, keys=keys, admission=admission)
    app.add_middleware(OriginCheck, settings=settings.http, keys=keys)
    app.add_middleware(ProbesOnly)
    with_context = partial(
        RequestContext,
        metrics=app.state.service.metrics,
        logs_prompts=settings.logging.prompts,
        tracer=tracer,
    )
    app.add_middleware(with_context)

    def refuse(error: ApiError) -> ASGIApp:
        return with_context(error_response(error))

    app.add_middleware(HostCheck, settings=settings.http, keys=keys, refuse=refuse)
    # Outside the check of hosts: a page that may call is to see why its host is refused.
    let_pages_call(app, settings.http.cors_origins)
    app.add_middleware(PathAliases, paths=app.state.paths)
    app.add_middleware(Expectations)


def _bound_bodies(app: FastAPI, settings: Settings, manager: ModelManager) -> None:
    app.add_middleware(ClientWatch)
    app.add_middleware(
        BodyMemory,
        max_bytes=BODIES_AT_ONCE * settings.http.max_body_bytes,
        is_kept_elsewhere=lambda path: path == files.FILES_PATH,  # a form's file is on the disk
    )
    max_body_bytes = partial(_max_body_bytes, settings, manager)
    app.add_middleware(BodyDecoding, max_bytes=max_body_bytes)
    app.add_middleware(
        BodyLimit,
        max_bytes=max_body_bytes,
        silence=settings.http.slow_sender_seconds,
        bytes_per_second=settings.http.body_bytes_per_second,
    )


def metrics_of(app: FastAPI) -> RequestMetrics:
    """The metrics that an app counts in."""
    service = app.state.service
    assert isinstance(service, Service)
    return service.metrics


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
