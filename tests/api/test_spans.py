"""Traces over the fakes, as a collector gets them."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from server.api.app import create_app
from server.api.call import Call, TracedGeneration, state_with
from server.api.choices import TokenCount
from server.config import SettingsError, TracingSettings
from server.protocol.outputs import RequestOutput
from server.sampling.params import SamplingParams
from server.telemetry.request_metrics import RequestMetrics
from server.telemetry.tracing import Tracer, tracing
from tests.api.harness import CHAT, COMPLETIONS, MODEL, Harness
from tests.otlp_receiver import OtlpReceiver, attributes_of

pytestmark = pytest.mark.anyio

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HELLO = [{"role": "user", "content": "hi"}]


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


class Traced:
    """A harness whose requests are traced; the receiver has the spans when the context ends."""

    def __init__(self, receiver: OtlpReceiver, **worker: Any) -> None:
        self.api = Harness(**worker)
        self._tracing = tracing(TracingSettings(endpoint=receiver.url))

    def __enter__(self) -> Harness:
        api = self.api
        tracer: Tracer | None = self._tracing.__enter__()
        api.app = create_app(
            *(api.settings, api.manager, api.states, api.kept, api.batches, api.keys), tracer
        )
        return api

    def __exit__(self, *error: Any) -> None:
        self._tracing.__exit__(*error)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_is_a_span_with_those_of_its_choices_below(
    stream: bool, receiver: OtlpReceiver
) -> None:
    before = time.time_ns()
    with Traced(receiver) as api:
        body = {"prompt": "abcd", "n": 2, "stream": stream, "max_tokens": 9, "temperature": 0.5}
        async with api.http() as http:
            await http.post(COMPLETIONS, json=body, headers={"x-request-id": "req_7"})
    (span,) = receiver.requests
    assert span.name == f"text_completion {MODEL}"
    found = attributes_of(span)
    assert found["gen_ai.request.id"] == "req_7"
    assert found["gen_ai.operation.name"] == "text_completion"
    assert found["gen_ai.request.model"] == found["gen_ai.response.model"] == MODEL
    assert found["gen_ai.usage.input_tokens"] == 4
    assert found["gen_ai.usage.output_tokens"] == 6
    assert found["gen_ai.response.finish_reasons"] == ["stop", "stop"]
    assert (found["gen_ai.request.max_tokens"], found["gen_ai.request.temperature"]) == (9, 0.5)
    assert (found["http.route"], found["http.response.status_code"]) == (COMPLETIONS, 200)
    assert "error.type" not in found
    assert before <= span.start_time_unix_nano < span.end_time_unix_nano <= time.time_ns()
    children = receiver.children(span)
    assert len(receiver.spans) == 7
    for index in range(2):
        mine = [each for each in children if attributes_of(each)["rwkv.choice.index"] == index]
        assert [each.name for each in mine] == ["queue", "prefill", "decode"]
        edges = [(each.start_time_unix_nano, each.end_time_unix_nano) for each in mine]
        assert edges[0][1] == edges[1][0]
        assert edges[1][1] == edges[2][0]
        assert span.start_time_unix_nano <= edges[0][0] <= edges[0][1] <= edges[1][1]
        assert edges[1][1] < edges[2][1] <= span.end_time_unix_nano
        assert attributes_of(mine[1])["gen_ai.usage.input_tokens"] == 4
        assert attributes_of(mine[2])["gen_ai.usage.output_tokens"] == 3


async def test_the_trace_of_the_client_goes_on(receiver: OtlpReceiver) -> None:
    with Traced(receiver) as api:
        async with api.http() as http:
            for flags in ("01", "00", "zz"):
                headers = {"traceparent": f"00-{TRACE}-{PARENT}-{flags}", "tracestate": "a=b"}
                await http.post(CHAT, json={"messages": HELLO}, headers=headers)
    first, *others = receiver.requests
    assert (first.trace_id.hex(), first.parent_span_id.hex()) == (TRACE, PARENT)
    assert first.trace_state == "a=b"
    assert {span.trace_id.hex() for span in receiver.children(first)} == {TRACE}
    # The second one is not to be recorded, and the third says nothing valid.
    (other,) = others
    assert other.trace_id.hex() != TRACE
    assert other.parent_span_id == b""


async def test_a_request_that_is_refused_is_a_span_with_the_code(receiver: OtlpReceiver) -> None:
    with Traced(receiver) as api:
        await api.post(COMPLETIONS, prompt="abcd", temperature=-1)
        await api.post("/v1/nothing-of-that-name")
        async with api.http() as http:
            await http.get("/v1/models")
            for probe in ("/health", "/live", "/ready"):
                await http.get(probe)
    refused, unknown, models = receiver.requests
    assert [span.name for span in receiver.spans] == [
        f"POST {COMPLETIONS}",
        "POST",
        "GET /v1/models",
    ]
    assert attributes_of(refused)["error.type"] == "invalid_value"
    assert attributes_of(unknown)["url.path"] == "/v1/nothing-of-that-name"
    assert refused.status.code == models.status.code == 0
    assert "gen_ai.operation.name" not in attributes_of(refused)


async def test_an_engine_that_fails_is_an_error(receiver: OtlpReceiver) -> None:
    with Traced(receiver, finish="error", error="out of luck") as api:
        await api.post(COMPLETIONS, prompt="a", stream=True)
    (span,) = receiver.requests
    assert attributes_of(span)["error.type"] == span.status.message == "engine_error"
    assert span.status.code == span.status.STATUS_CODE_ERROR
    assert attributes_of(span)["gen_ai.response.finish_reasons"] == ["error"]


async def test_a_client_that_leaves_in_the_queue_has_no_phases(receiver: OtlpReceiver) -> None:
    with Traced(receiver, hold_after=0) as api:
        async with api.http() as http:
            asking = asyncio.create_task(http.post(COMPLETIONS, json={"prompt": "a"}))
            await api.worker.until(lambda: len(api.worker.generated) == 1)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
    (span,) = receiver.spans
    assert attributes_of(span)["gen_ai.response.finish_reasons"] == ["abort"]


async def test_what_goes_on_in_the_background_is_told_until_its_request_ends(
    receiver: OtlpReceiver,
) -> None:
    started = time.perf_counter()
    record = RequestMetrics().begin(MODEL, "responses", 4, started)
    record.news(RequestOutput("r1", "a", [1], None))
    params = SamplingParams(max_tokens=9, seed=1)
    call = Call(tokens=TokenCount(prompt=1))
    call.generation = TracedGeneration(MODEL, "responses", params, 1, [record])
    state = state_with(call)
    scope = {"method": "POST", "path": "/v1/responses", "headers": [], "state": state}
    with tracing(TracingSettings(endpoint=receiver.url)) as tracer:
        assert tracer is not None
        tracer.trace(scope, "req_1", 200, started)
    (span,) = receiver.requests
    (decode,) = (each for each in receiver.children(span) if each.name == "decode")
    assert decode.start_time_unix_nano <= decode.end_time_unix_nano <= span.end_time_unix_nano


async def test_no_text_is_in_a_trace(receiver: OtlpReceiver) -> None:
    secret = "The password is swordfish."
    with Traced(receiver, script=lambda _: ["It is herring."]) as api:
        await api.post(COMPLETIONS, prompt=secret, stop=[secret, "swordfish"], user=secret)
        await api.post(CHAT, messages=[{"role": "user", "content": secret}], stream=True)
        await api.post(COMPLETIONS, prompt={"text": secret})
    assert len(receiver.requests) == 3
    assert not [word for word in (b"swordfish", b"herring") if word in receiver.content]


async def test_the_environment_has_its_say(
    receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "front")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-token=abc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")  # the setting wins
    with Traced(receiver) as api:
        await api.post(CHAT, messages=HELLO)
    (resource,) = receiver.resources
    assert resource["service.name"] == "front"
    assert resource["deployment.environment.name"] == "test"
    assert resource["service.version"]
    (headers,) = (
        {name.lower(): value for name, value in each.items()} for each in receiver.headers
    )
    assert (headers["x-token"], headers["content-encoding"]) == ("abc", "gzip")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    with Traced(receiver) as api:
        await api.post(CHAT, messages=HELLO)
    assert len(receiver.requests) == 1


def test_an_environment_that_is_wrong_is_one_line(
    receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "9")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "3")
    settings = TracingSettings(endpoint=receiver.url + "/v1/traces")
    with pytest.raises(SettingsError, match="environment: OTEL") as caught, tracing(settings):
        pass
    assert "\n" not in str(caught.value)
