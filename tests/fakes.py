"""Stand-ins at the seams: a worker that follows a script, models, states and embeddings."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
from msgspec.structs import replace

from server.pool.client import EngineClient
from server.pool.process import WorkerError
from server.pool.records import WorkerLink, WorkerStatus
from server.protocol.cache_view import CacheCounters, CacheReport
from server.protocol.engine_report import EngineReport
from server.protocol.messages import (
    Abort,
    CacheQuery,
    EngineQuery,
    Generate,
    ModelSpec,
    Ready,
    Sleep,
    ToWorker,
    Wake,
)
from server.protocol.outputs import FinishReason, RequestOutput
from server.protocol.task import Task
from server.registry.served_model import ServedModel, stamp_files
from server.sampling.token_logprobs import TokenLogprobs
from server.state_cache.encoding import SnapshotCodec
from server.state_cache.snapshot import Snapshot
from server.tokenizer.chat_template import ChatTemplate
from server.tokenizer.turn_ends import TurnEnds, turn_ends_of
from tests.fake_text import FakeTemplate, FakeTokenizer

PATIENCE = 20.0  # seconds until a test that waits for something gives up

STATE_SHAPES = {"wkv": (1, 1, 2, 2)}
DIM = 8
FINGERPRINT = "test-weights"
CODEC = SnapshotCodec(FINGERPRINT, STATE_SHAPES, FakeTokenizer.vocab_size)


def fake_state(tokens: list[int], base: bytes = b"") -> bytes:
    """The encoded state after some tokens: one that depends on each of them and their order."""
    stored = CODEC.decode(base) if base else None
    before = stored.snapshot if stored else None
    value = int(before.state["wkv"].flat[0]) if before else 0
    for token in tokens:
        value = (value * 31 + token + 1) % 65_521
    wkv = np.full(STATE_SHAPES["wkv"], value, np.float32)
    logits = np.full(CODEC.vocab_size, value, np.float32)
    count = len(tokens) + (before.tokens if before else 0)
    ids = np.array(tokens, np.int32)
    if stored is not None:
        assert stored.token_ids is not None
        ids = np.concatenate([stored.token_ids, ids])
    return CODEC.encode(Snapshot(count, {"wkv": wkv}, logits), ids)


def fake_embedding(tokens: list[int], pooling: str) -> bytes:
    """Of some tokens; what is pooled of each is its id and, from there, ever less."""
    read = tokens if pooling == "mean" else tokens[-1:]
    states = np.array([[token - channel for channel in range(DIM)] for token in read], "<f8")
    return states.mean(0).tobytes()


def greet(_: Generate) -> list[str]:
    """The usual script: three tokens."""
    return ["Hello", ", ", "wörld"]


def scores(task: Task) -> list[TokenLogprobs | None]:
    """Made up: all tokens of the prompt but the first are as likely."""
    known: list[TokenLogprobs | None] = [TokenLogprobs(-1.0, [], [])] * len(task.prompt_ids)
    known[:1] = [None] * len(known[:1])
    return known[task.params.prompt_logprobs_from :]


class FakeWorker:
    """A worker of `client`, in its event loop: one piece of the script is one token.

    With `hold_after` = n each request waits for release() after n pieces: 0 looks like a request
    that is queued or in prefill, more like one that is decoding. It ends with `finish`, or with
    "length" when the script is longer than max_tokens.
    """

    def __init__(
        self,
        client: EngineClient,
        script: Callable[[Generate], list[str]] = greet,
        hold_after: int | None = None,
        finish: FinishReason = "stop",
        error: str | None = None,
    ) -> None:
        self.client = client
        self.link = WorkerLink("fake", self._receive)
        self.script = script
        self.hold_after = hold_after
        self.finish = finish
        self.error = error
        self.stop_string = ""
        """What it says that requests end with."""
        self.generated: list[Generate] = []
        self.aborted: list[str] = []
        self.queries: list[CacheQuery] = []
        self.report: CacheReport | None = CacheReport(0, CacheCounters(), {}, [])
        """The answer to queries; with None there is none."""
        self.engine_report = EngineReport()
        self.asleep: set[str] = set()
        self.pieces_sent = 0
        self.finished = 0
        self._released = asyncio.Event()
        self._changed = asyncio.Event()
        self._woken = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def release(self) -> None:
        """Let all held requests go on."""
        self._released.set()

    def failure(self, number: int) -> RequestOutput:
        """What ends the given request with an error."""
        return RequestOutput(
            self.generated[number].request_id, "", [], "error", error="out of luck"
        )

    def send_nonsense(self) -> None:
        """Give the oldest request a text that is none, as a bug might."""
        text: Any = object()
        self._deliver(RequestOutput(self.generated[0].request_id, text, []))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the worker's records meet a condition; one waiter at a time."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def _receive(self, message: ToWorker) -> None:
        if isinstance(message, Generate):
            self.generated.append(message)
            self._tasks[message.request_id] = asyncio.create_task(self._answer(message))
        elif isinstance(message, CacheQuery):
            self.queries.append(message)
            if self.report is not None:
                self.client.inquiries.answer(message.query_id, self.report)
        elif isinstance(message, EngineQuery):
            self.client.engine_inquiries.answer(message.query_id, self.engine_report)
        elif isinstance(message, Abort):
            self.aborted.append(message.request_id)
            self._tasks[message.request_id].cancel()
        elif isinstance(message, Sleep):
            self.asleep.add(message.request_id)
        elif isinstance(message, Wake):
            self.asleep.discard(message.request_id)
        self._changed.set()
        self._woken.set()

    async def _answer(self, request: Generate) -> None:
        if request.task.pooling:
            await self._embed(request.request_id, request.task)
            return
        pieces = self.script(request)
        if request.task.params.prompt_logprobs >= 0:
            known = scores(request.task)
            self._deliver(RequestOutput(request.request_id, "", [], prompt_logprobs=known))
        for number, piece in enumerate(pieces[: request.task.params.max_tokens]):
            await self._hold(number)
            while request.request_id in self.asleep:
                self._woken.clear()
                await self._woken.wait()
            logprobs = [TokenLogprobs(-1.0, [], [])] if request.task.params.logprobs >= 0 else []
            self._deliver(RequestOutput(request.request_id, piece, [number], logprobs=logprobs))
            self.pieces_sent += 1
            await asyncio.sleep(0)  # the reader's turn
        await self._hold(len(pieces))
        finish = "length" if len(pieces) > request.task.params.max_tokens else self.finish
        self.finished += 1
        task = request.task
        state = fake_state(task.prompt_ids, task.base) if task.keeps_state else b""
        ending = RequestOutput(request.request_id, "", [], finish, self.error, state=state)
        self._deliver(replace(ending, stop_string=self.stop_string))

    async def _embed(self, request_id: str, task: Task) -> None:
        await self._hold(0)
        self.finished += 1
        embedding = fake_embedding(task.prompt_ids, task.pooling)
        self._deliver(
            RequestOutput(request_id, "", [], self.finish, error=self.error, embedding=embedding)
        )

    async def _hold(self, number: int) -> None:
        if number == self.hold_after:
            await self._released.wait()

    def _deliver(self, output: RequestOutput) -> None:
        self.client.deliver(self.link, [output])
        self._changed.set()


def fake_model(
    spec: ModelSpec, created: int = 0, template: FakeTemplate | None = None
) -> ServedModel:
    """A model that needs no files."""
    template, tokenizer = template or FakeTemplate(), FakeTokenizer()
    is_real = isinstance(template, ChatTemplate)
    return ServedModel(
        spec=spec,
        created=created,
        tokenizer=tokenizer,
        chat_template=template,  # type: ignore[arg-type]
        turn_ends=turn_ends_of(template, tokenizer) if is_real else TurnEnds((), template.stop),
        generation="rwkv7",
        parameters=1000,
        vocab_size=FakeTokenizer.vocab_size,
        dim=DIM,
        state_shapes=STATE_SHAPES,
        system_fingerprint="fp_test",
        stamp=stamp_files(spec),
        reasoning="on" if spec.reasoning == "on" else "off",
        fills_middle=spec.fill_in_middle == "on",
    )


class FakeWorkers:
    """The workers of a model: one FakeWorker. start() waits for `gate` and raises `start_error`."""

    def __init__(
        self,
        spec: ModelSpec,
        client: EngineClient,
        gate: asyncio.Event | None = None,
        start_error: WorkerError | None = None,
        **worker: Any,
    ) -> None:
        self.spec = spec
        self.worker = FakeWorker(client, **worker)
        self.gate = gate
        self.start_error = start_error
        self.stopped = False

    async def start(self) -> list[Ready]:
        """Ready at once, but for the gate."""
        if self.gate is not None:
            await self.gate.wait()
        if self.start_error is not None:
            raise self.start_error
        self.worker.client.add(self.worker.link)
        self.worker.client.open()
        return [Ready("float32", 1, 0.0, 0.0, fingerprint=FINGERPRINT)]

    def status(self) -> list[WorkerStatus]:
        """One worker, which has been started again twice."""
        return [WorkerStatus("fake", True, 2, 12_345)]

    async def stop(self) -> None:
        """Keeps that it was called."""
        self.stopped = True
        self.worker.client.close("stopped")
