"""/api: what Ollama's clients ask."""

from collections.abc import Coroutine
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any, NoReturn

import msgspec
from fastapi import APIRouter, Request, Response

from server.api.bodies.threads import body_bytes, off_loop
from server.api.call import call_of
from server.api.conversation import Conversation, conversation_of
from server.api.dependencies import Service, ServiceDependency
from server.api.embedding_plan import plan_embeddings
from server.api.errors import ApiError
from server.api.generation import Generation
from server.api.ollama.answer import FRAMING, OllamaLines, head_of
from server.api.ollama.chat_request import (
    chat_of,
    chat_of_prompt,
    completion_of,
    embedding_of,
    in_our_words,
)
from server.api.ollama.models import listed, shown
from server.api.ollama.route import OllamaRoute
from server.api.plan import Plan, plan_chat, plan_completion
from server.api.schemas.chat import ChatCompletionRequest
from server.api.schemas.ollama import (
    OLLAMA_ERRORS,
    OllamaAnswer,
    OllamaChatRequest,
    OllamaEmbeddings,
    OllamaEmbedRequest,
    OllamaGenerateRequest,
    OllamaModelList,
    OllamaRequest,
    OllamaShown,
    OllamaShowRequest,
    OllamaVersion,
)
from server.api.sending import JsonResponse
from server.api.sse import EventStream
from server.api.tenant import owner_of
from server.api.vectors import collect_vectors, vector_of
from server.json_pieces import JsonList
from server.registry.manager import Route, UnknownModelError

router = APIRouter(tags=["ollama"], responses=OLLAMA_ERRORS, route_class=OllamaRoute)

SPOKEN = "0.13.4"
"""The version of Ollama whose API this is."""


@router.post("/api/chat", response_model=OllamaAnswer)
async def ollama_chat(
    body: OllamaChatRequest, request: Request, service: ServiceDependency
) -> Response:
    """Answer a conversation."""
    route = service.route(request, body.model)
    if not body.messages:
        return _nothing(body, route, {"message": {"role": "assistant", "content": ""}})
    most = service.settings_for(request).limits.max_output_tokens
    chat = await off_loop(body_bytes(request.scope), chat_of, body, most)
    conversation, plan = await _plan(chat, route, request, service)
    return await _answer(body, route, plan, request, service, conversation)


@router.post("/api/generate", response_model=OllamaAnswer)
async def ollama_generate(
    body: OllamaGenerateRequest, request: Request, service: ServiceDependency
) -> Response:
    """Answer one message, continue a text, or complete one up to a suffix."""
    route = service.route(request, body.model)
    if not body.prompt and not body.suffix:
        return _nothing(body, route, {"response": ""})
    settings, owner = service.settings_for(request), owner_of(request)
    most = settings.limits.max_output_tokens
    if body.raw or body.suffix:
        completion = completion_of(body, most)
        planning = plan_completion(completion, route.served, settings, owner, service.grammars)
        plan = await _in_our_words(planning)
        return await _answer(body, route, plan, request, service)
    conversation, plan = await _plan(chat_of_prompt(body, most), route, request, service)
    return await _answer(body, route, plan, request, service, conversation)


@router.post("/api/embed", response_model=OllamaEmbeddings)
async def ollama_embed(
    body: OllamaEmbedRequest, request: Request, service: ServiceDependency
) -> Response:
    """A vector for each input."""
    started = perf_counter()
    route, vectors, tokens = await _embed(body, request, service)
    answer = OllamaEmbeddings(
        model=body.model or route.id,
        embeddings=[],
        total_duration=int((perf_counter() - started) * 1e9),
        load_duration=0,
        prompt_eval_count=tokens,
    )
    return JsonResponse(answer.model_dump() | {"embeddings": JsonList(vectors)})


@router.post("/api/embeddings", response_model=dict[str, list[float]])
async def ollama_embeddings(
    body: OllamaEmbedRequest, request: Request, service: ServiceDependency
) -> Response:
    """The vector of a prompt, as it was once asked for."""
    _, vectors, _ = await _embed(body, request, service)
    return JsonResponse({"embedding": msgspec.Raw(vectors[0]) if vectors else []})


@router.head("/api/tags", include_in_schema=False)
@router.get("/api/tags")
async def ollama_tags(service: ServiceDependency) -> OllamaModelList:
    """All models, also those that are not loaded."""
    return OllamaModelList(models=[listed(model) for model in service.models.models.values()])


@router.head("/api/ps", include_in_schema=False)
@router.get("/api/ps")
async def ollama_running(service: ServiceDependency) -> OllamaModelList:
    """The models that are loaded."""
    models = [model for model in service.models.models.values() if model.deployment]
    return OllamaModelList(models=[listed(model) for model in models])


@router.post("/api/show")
async def ollama_show(body: OllamaShowRequest, service: ServiceDependency) -> OllamaShown:
    """All about a model."""
    try:
        model, _ = service.models.find(body.model or body.name or service.models.default)
    except UnknownModelError as error:
        raise ApiError("model_not_found", str(error), "model") from None
    if model.served is None:
        raise ApiError("model_not_loaded", f"The model {model.entry.id!r} is not loaded", "model")
    return shown(model, model.served)


@router.head("/api/version", include_in_schema=False)
@router.get("/api/version")
async def ollama_version() -> OllamaVersion:
    """Which API this is."""
    return OllamaVersion(version=SPOKEN)


@router.post("/api/pull", response_model=None)
@router.post("/api/push", response_model=None)
@router.post("/api/create", response_model=None)
@router.post("/api/copy", response_model=None)
@router.delete("/api/delete", response_model=None)
async def ollama_change(request: Request) -> NoReturn:
    """Models are the operator's."""
    message = (
        f"{request.url.path} is not supported: models are changed with `rwkv-server pull`, the "
        "settings and /v1/admin/models"
    )
    raise ApiError("unknown_url", message)


async def _plan(
    chat: ChatCompletionRequest, route: Route, request: Request, service: Service
) -> tuple[Conversation, Plan]:
    settings, owner = service.settings_for(request), owner_of(request)
    size = body_bytes(request.scope)
    conversation = await off_loop(size, conversation_of, chat, route.served)
    conversation = replace(conversation, returns_objects=True)
    return conversation, await _in_our_words(
        plan_chat(chat, conversation, route.served, settings, owner, service.grammars)
    )


async def _in_our_words(planning: Coroutine[Any, Any, Plan]) -> Plan:
    try:
        return await planning
    except ApiError as error:
        raise error.renamed(in_our_words) from None


async def _answer(
    body: OllamaRequest,
    route: Route,
    plan: Plan,
    request: Request,
    service: Service,
    conversation: Conversation | None = None,
) -> Response:
    tokenizer = route.served.tokenizer if body.logprobs else None
    is_chat, is_raw = isinstance(body, OllamaChatRequest), conversation is None
    lines = OllamaLines(body.model or route.id, is_chat, is_raw, tokenizer, body.stream)
    read_ahead = None
    if conversation is not None:
        read_ahead = partial(service.read_ahead.start, route, plan, conversation)
    if body.stream:
        ping_seconds = service.settings.http.ping_seconds
        return EventStream(route, plan, lines, ping_seconds, on_end=read_ahead, framing=FRAMING)
    with Generation(route, plan, request.scope, request.receive) as generation:
        while generation.running:
            for news in await generation.news():
                lines.news(news)
        lines.closing(generation.tokens.usage())
    if read_ahead is not None:  # when the answer is sent
        call_of(request.scope).exits.callback(read_ahead, generation.choices)
    return JsonResponse(lines.whole())


def _nothing(body: OllamaRequest, route: Route, said: dict[str, object]) -> Response:
    """Who asks for nothing wants the model loaded, or unloaded; it stays as it is."""
    reason = "unload" if body.keep_alive in (0, "0") else "load"
    answer = head_of(body.model or route.id) | said | {"done": True, "done_reason": reason}
    return JsonResponse(answer)


async def _embed(
    body: OllamaEmbedRequest, request: Request, service: Service
) -> tuple[Route, list[bytes], int]:
    """Who computes it, a vector as JSON for each input, and the tokens of the inputs."""
    settings, owner = service.settings_for(request), owner_of(request)
    route = service.route(request, body.model)
    if not body.input and not body.prompt:
        return route, [], 0
    embedding = await off_loop(body_bytes(request.scope), embedding_of, body)
    plan = await plan_embeddings(embedding, route.served, settings, owner)

    def encode(_: int, embedding: bytes) -> bytes:
        vector = vector_of(embedding, body.dimensions, normalize=True)
        return msgspec.json.encode(vector.tolist())

    with Generation(route, plan, request.scope, request.receive) as generation:
        vectors = await collect_vectors(generation, encode)
    return route, vectors, generation.tokens.prompt
