"""Requests as spans of OpenTelemetry, sent over OTLP/HTTP; only for tracing.py to import.

A span for each request, under the client's own if it sends a `traceparent`, and below it for each
choice `queue`, `prefill` and `decode`. Names are those of the semantic conventions for generative
AI. Spans are made when a request is over: nothing is done for a token. No text is in them.
"""

import threading
from collections.abc import Iterator
from time import perf_counter, time_ns

from opentelemetry import propagate
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.util.types import AttributeValue
from starlette.datastructures import Headers
from starlette.types import Scope

from server.api.call import TracedGeneration, call_of
from server.api.errors import ERRORS
from server.telemetry.request_metrics import RequestRecord
from server.version import VERSION

CLOSE_SECONDS = 2.0
_PATH = "/v1/traces"

Attributes = dict[str, AttributeValue]


class SpanWriter:
    """Makes spans and sends them from a thread of its own, which holds a bounded number."""

    def __init__(self, endpoint: str) -> None:
        """`endpoint` is the collector's URL, with or without /v1/traces."""
        resource = Resource.create({"service.name": "rwkv-server", "service.version": VERSION})
        # The environment's names win over ours: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES.
        resource = resource.merge(OTELResourceDetector().detect())
        self._exporter = OTLPSpanExporter(endpoint.rstrip("/").removesuffix(_PATH) + _PATH)
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("rwkv-server", VERSION)

    def trace(self, scope: Scope, request_id: str, status: int, started: float) -> None:
        """A request that came at `started`, by perf_counter(), and ends now; never waits."""
        ended = perf_counter()
        epoch = time_ns() - int(ended * 1e9)  # of perf_counter()
        call = call_of(scope)
        generation = call.generation
        span = self._tracer.start_span(
            _name_of(scope, generation),
            propagate.extract(Headers(scope=scope)),
            SpanKind.SERVER,
            _of_http(scope, request_id, status) | _of_generation(scope, generation),
            start_time=epoch + int(started * 1e9),
        )
        if call.error_code and ERRORS[call.error_code].status >= 500:
            span.set_status(Status(StatusCode.ERROR, call.error_code))
        if generation is not None and span.is_recording():
            context = set_span_in_context(span)
            for index, record in enumerate(generation.records):
                for name, begin, end, attributes in _phases(record, ended):
                    attributes["rwkv.choice.index"] = index
                    start = epoch + int(begin * 1e9)
                    child = self._tracer.start_span(
                        name, context, attributes=attributes, start_time=start
                    )
                    child.end(epoch + int(end * 1e9))
        span.end(epoch + int(ended * 1e9))

    def close(self) -> None:
        """Send what is left, for at most CLOSE_SECONDS."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


def _name_of(scope: Scope, generation: TracedGeneration | None) -> str:
    if generation is not None:
        return f"{generation.operation} {generation.model}"
    # Of a path only its pattern, which the router knows: there are as many paths as states.
    return " ".join([scope["method"], *_route_of(scope)])


def _route_of(scope: Scope) -> list[str]:
    route = scope.get("route")
    return [route.path] if route else []


def _of_http(scope: Scope, request_id: str, status: int) -> Attributes:
    found: Attributes = {
        "http.request.method": scope["method"],
        "url.path": scope["path"],
        "http.response.status_code": status,
        "gen_ai.request.id": request_id,  # as from vLLM
    }
    if code := call_of(scope).error_code:
        found["error.type"] = code
    for route in _route_of(scope):
        found["http.route"] = route
    return found


def _of_generation(scope: Scope, generation: TracedGeneration | None) -> Attributes:
    if generation is None:
        return {}
    tokens, params = call_of(scope).tokens, generation.params
    assert tokens is not None
    return {
        "gen_ai.operation.name": generation.operation,
        "gen_ai.provider.name": "rwkv-server",
        "gen_ai.request.model": generation.model,
        "gen_ai.response.model": generation.model,
        "gen_ai.request.choice.count": generation.choices,
        "gen_ai.request.max_tokens": params.max_tokens,
        "gen_ai.request.temperature": params.temperature,
        "gen_ai.request.top_p": params.top_p,
        "gen_ai.request.top_k": params.top_k,
        "gen_ai.request.frequency_penalty": params.frequency_penalty,
        "gen_ai.request.presence_penalty": params.presence_penalty,
        "gen_ai.response.finish_reasons": [each.finish_reason for each in generation.records],
        "gen_ai.usage.input_tokens": tokens.prompt,
        "gen_ai.usage.output_tokens": tokens.completion,
        "gen_ai.usage.cache_read.input_tokens": tokens.cached,
        "gen_ai.usage.cache_creation.input_tokens": tokens.written,
    }


def _phases(record: RequestRecord, now: float) -> Iterator[tuple[str, float, float, Attributes]]:
    """Name, begin and end of what is known of a choice, by perf_counter()."""
    ended_at = record.ended_at or now  # what runs in the background goes on without its request
    if record.admitted_at is None:
        return  # it ended before its first token, in the queue or later
    read_at = record.first_token_at or ended_at
    yield "queue", record.submitted_at, record.admitted_at, {}
    yield (
        "prefill",
        record.admitted_at,
        read_at,
        {"gen_ai.usage.input_tokens": record.prompt_tokens},
    )
    if record.first_token_at is not None:
        answered: Attributes = {"gen_ai.usage.output_tokens": record.generated_tokens}
        yield "decode", read_at, ended_at, answered
