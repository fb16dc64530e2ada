"""What requests for text have waited for and got, under the names of vLLM and of OpenTelemetry.

A request is here what it is for the engine: one choice. Times begin when its HTTP request comes.
Tokens count when the answer takes them in, so a client that does not read shows in them.
"""

from collections.abc import Sequence
from time import perf_counter
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.process_collector import ProcessCollector

from server.protocol.outputs import RequestOutput

Operation = Literal["chat", "text_completion", "embeddings", "create_state", "responses", "rerank"]
"""The first three are of OpenTelemetry's GenAI conventions, which have none of the others."""

# The buckets are vLLM's and OpenTelemetry's, so that dashboards and alerts for these fit.
_FIRST_TOKEN = tuple(
    map(float, ".001 .005 .01 .02 .04 .06 .08 .1 .25 .5 .75 1 2.5 5 7.5 10".split())
)
_EACH_TOKEN = tuple(map(float, ".01 .025 .05 .075 .1 .15 .2 .3 .4 .5 .75 1 2.5".split()))
_LATENCY = tuple(
    map(float, ".3 .5 .8 1 1.5 2 2.5 5 10 15 20 30 40 50 60 120 240 480 960 1920 7680".split())
)
_DURATION = tuple(0.01 * 2**power for power in range(14))
_TOKENS = tuple(digit * 10**power for power in range(6) for digit in (1, 2, 5))


class RequestMetrics:
    """Counts since the server started, in a registry that no other app shares."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        self._make_histograms()
        self._prompt = self._counter("vllm:prompt_tokens", "Tokens of prompts that were read.")
        self._generated = self._counter("vllm:generation_tokens", "Tokens that were generated.")
        self._finished = self._counter(
            "vllm:request_success", "Requests that are over, by why.", "finished_reason"
        )
        self._refused = Counter(
            "rwkv_requests_refused",
            "HTTP requests that got an error, also in a stream that had begun, by its code.",
            ["code"],
            registry=self.registry,
        )
        self._series: dict[tuple[str, Operation], _Series] = {}

    def begin(
        self, model: str, operation: Operation, prompt_tokens: int, started: float
    ) -> "RequestRecord":
        """A request was submitted whose HTTP request came at `started`, by perf_counter()."""
        series = self._series.get((model, operation))
        if series is None:
            series = self._series[model, operation] = _Series(self, model, operation)
        return RequestRecord(series, prompt_tokens, started)

    def refuse(self, code: str) -> None:
        """An HTTP request got an error."""
        self._refused.labels(code).inc()

    def _make_histograms(self) -> None:
        make = self._histogram
        more = (20.0, 40.0, 80.0)
        self._first_token = make(
            "vllm:time_to_first_token_seconds",
            "Until the first token.",
            (*_FIRST_TOKEN, *more, 160.0, 640.0, 2560.0),
        )
        self._inter_token = make(
            "vllm:inter_token_latency_seconds",
            "From one token to the next.",
            (*_EACH_TOKEN, 5.0, 7.5, 10.0, *more),
        )
        self._latency = make("vllm:e2e_request_latency_seconds", "Until the end.", _LATENCY)
        self._queue = make("vllm:request_queue_time_seconds", "For a slot of the engine.", _LATENCY)
        self._prompts = make("vllm:request_prompt_tokens", "Tokens of a prompt.", _TOKENS)
        self._answers = make("vllm:request_generation_tokens", "Tokens of an answer.", _TOKENS)
        self._gen_ai = [
            make(f"gen_ai_server_{name}_seconds", text, buckets, *_GEN_AI_LABELS)
            for name, text, buckets in (
                ("time_to_first_token", "Until the first token.", _FIRST_TOKEN),
                ("time_per_output_token", "After the first, in the mean.", _EACH_TOKEN),
                ("request_duration", "Until the end.", _DURATION),
            )
        ]

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        labels = labels or ("model_name",)
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, ["model_name", *labels], registry=self.registry)


_GEN_AI_LABELS = ("gen_ai_request_model", "gen_ai_operation_name")


class _Series:
    """The series of one model and operation: finding them costs more than what is done then."""

    def __init__(self, metrics: RequestMetrics, model: str, operation: Operation) -> None:
        self.first_token = metrics._first_token.labels(model)
        self.inter_token = metrics._inter_token.labels(model)
        self.latency = metrics._latency.labels(model)
        self.queue = metrics._queue.labels(model)
        self.prompts = metrics._prompts.labels(model)
        self.answers = metrics._answers.labels(model)
        self.prompt = metrics._prompt.labels(model)
        self.generated = metrics._generated.labels(model)
        reasons = ("stop", "length", "abort", "error")
        self.finished = {reason: metrics._finished.labels(model, reason) for reason in reasons}
        self.server_first_token, self.server_each_token, self.server_duration = (
            family.labels(model, operation) for family in metrics._gen_ai
        )


class RequestRecord:
    """Observes one request, from its outputs."""

    __slots__ = (  # there are thousands of one body
        *("_series", "_started", "_last_at", "prompt_tokens", "generated_tokens", "submitted_at"),
        *("admitted_at", "first_token_at", "ended_at", "finish_reason"),
    )

    def __init__(self, series: _Series, prompt_tokens: int, started: float) -> None:
        self._series = series
        self._started = self._last_at = started
        self.prompt_tokens = prompt_tokens
        self.generated_tokens = 0
        self.submitted_at = perf_counter()
        self.admitted_at: float | None = None
        """When it got its slot; known from the first output on."""
        self.first_token_at: float | None = None
        self.ended_at = 0.0
        self.finish_reason = ""
        """As that of the last output; empty until it is over."""

    def news(self, output: RequestOutput) -> None:
        """An output has come."""
        now = perf_counter()
        if self.admitted_at is None and output.finish_reason not in ("abort", "error"):
            self.admitted_at = min(now, self.submitted_at + output.queued_seconds)
            self._series.queue.observe(output.queued_seconds)
            self._series.prompt.inc(self.prompt_tokens)
        if output.token_ids:
            self._add_tokens(len(output.token_ids), now)
        if output.finish_reason is not None:
            self._end(output.finish_reason, now)

    def abort(self) -> None:
        """Nobody waits for it any more; without effect when it is over."""
        if not self.finish_reason:
            self._end("abort", perf_counter())

    def _add_tokens(self, count: int, now: float) -> None:
        series = self._series
        series.generated.inc(count)
        gaps = count
        if self.first_token_at is None:
            self.first_token_at = self._last_at = now
            series.first_token.observe(now - self._started)
            series.server_first_token.observe(now - self._started)
            gaps -= 1
        for _ in range(gaps):  # those that came together share the time
            series.inter_token.observe((now - self._last_at) / gaps)
        self.generated_tokens += count
        self._last_at = now

    def _end(self, reason: str, now: float) -> None:
        series = self._series
        self.finish_reason, self.ended_at = reason, now
        series.finished[reason].inc()
        if reason in ("abort", "error"):
            return
        series.latency.observe(now - self._started)
        series.prompts.observe(self.prompt_tokens)
        series.answers.observe(self.generated_tokens)
        series.server_duration.observe(now - self._started)
        if self.first_token_at is not None and self.generated_tokens > 1:
            seconds = now - self.first_token_at
            series.server_each_token.observe(seconds / (self.generated_tokens - 1))
