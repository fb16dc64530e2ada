"""The whole server on one screen: schedule, run, process, update."""

import time
from collections.abc import Callable, Iterable

import msgspec

from server.engine.batch import Batch
from server.engine.model_runner import ModelRunner
from server.engine.output_processor import OutputProcessor
from server.engine.prefix_cache import PrefixCache
from server.engine.request import Request
from server.engine.scheduler import Scheduler
from server.protocol.engine_report import EngineReport
from server.protocol.outputs import RequestOutput
from server.protocol.task import Task
from server.state_cache.encoding import SnapshotCodec, SnapshotError

_WAIT_SECONDS = 0.01  # new requests and aborts are not looked at meanwhile


class Engine:
    """Computes any number of requests, step by step, on the calling thread."""

    def __init__(
        self,
        scheduler: Scheduler,
        runner: ModelRunner,
        processor: OutputProcessor,
        cache: PrefixCache,
        codec: SnapshotCodec,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`clock` gives seconds: for how long steps take and requests wait."""
        self._scheduler = scheduler
        self._runner = runner
        self._processor = processor
        self._cache = cache
        self._codec = codec
        self._clock = clock
        self._report = EngineReport()

    @property
    def has_work(self) -> bool:
        """Whether step() would compute anything."""
        return self._scheduler.has_work

    def add(self, request_id: str, task: Task) -> None:
        """Queue a request. Its ids must be in the vocabulary, its initial state must be known.

        Raises SnapshotError for a base that is damaged or of another model, or for an empty prompt
        without logits to begin with.
        """
        base = self._codec.decode(task.base) if task.base else None
        if not task.prompt_ids and (base is None or base.snapshot.logits is None):
            raise SnapshotError("state: it has no logits, so a prompt must follow it")
        request = Request(request_id, task, base, added_at=self._clock())
        self._runner.grammars.prepare(request)
        self._processor.add(request)
        self._scheduler.add(request)

    def abort(self, request_id: str) -> None:
        """Drop a request at whatever stage it is; one that has finished is ignored."""
        request = self._scheduler.get(request_id)
        if request is not None:
            self._scheduler.remove(request)
            self._processor.remove(request)
            self._runner.keep_reply(request)
            self._runner.release(request)

    def sleep(self, request_id: str) -> None:
        """Compute nothing for a request until it is woken: its reader cannot keep up."""
        request = self._scheduler.get(request_id)
        if request is not None:
            self._scheduler.sleep(request)

    def wake(self, request_id: str) -> None:
        """Go on with a request; one that does not sleep, or has finished, is ignored."""
        request = self._scheduler.get(request_id)
        if request is not None:
            self._scheduler.wake(request)

    def step(self) -> list[RequestOutput]:
        """Compute one batch; return the updates of its requests."""
        started = self._clock()
        refused = self._refuse_grammars(started)
        batch = self._schedule(started)
        if not batch.chunks and not batch.parked:
            self._wait()
            return refused
        result = self._runner.run(batch)
        outputs, finished = self._processor.process(batch, result)
        self._scheduler.update(batch, result, finished)
        self._release(finished)
        self._observe(batch, self._clock() - started)
        return refused + self._with_states(outputs, finished)

    def _schedule(self, now: float) -> Batch:
        batch = self._scheduler.schedule()
        for request in batch.admitted:
            request.queued_seconds = now - request.added_at
        return batch

    def _wait(self) -> None:
        """For what keeps all requests from being computed."""
        if not self._runner.grammars.wait(_WAIT_SECONDS):
            self._cache.wait()

    def _release(self, finished: Iterable[Request]) -> None:
        for request in finished:
            self._runner.keep_reply(request)
            self._runner.release(request)

    def _with_states(
        self, outputs: list[RequestOutput], finished: Iterable[Request]
    ) -> list[RequestOutput]:
        """The outputs, with the states of the tasks that keep theirs."""
        kept = {request.request_id: request for request in finished if request.kept}
        return [self._with_state(output, kept.get(output.request_id)) for output in outputs]

    @property
    def cache(self) -> PrefixCache:
        """For operators."""
        return self._cache

    @property
    def report(self) -> EngineReport:
        """For operators."""
        running = [request for request in self._scheduler.running if not request.background]
        return msgspec.structs.replace(self._report, running=len(running))

    def idle(self) -> None:
        """Tell that there is nothing to compute until something is added."""
        self._cache.idle()

    def close(self, seconds: float) -> None:
        """Keep what is to be kept, for at most so long. Nothing may follow."""
        self._cache.close(seconds)

    def _refuse_grammars(self, now: float) -> list[RequestOutput]:
        """Fail the requests whose grammars cannot be used."""
        outputs = []
        for request, error in self._runner.grammars.unusable(now):
            self.abort(request.request_id)
            name = request.request_id
            output = RequestOutput(name, "", [], "error", error, error_code="grammar_error")
            outputs.append(output)
        return outputs

    def _observe(self, batch: Batch, seconds: float) -> None:
        self._scheduler.observe(batch, seconds)
        self._report.steps += 1
        self._report.rows += len(batch.chunks)
        self._report.tokens += batch.tokens
        self._report.seconds += seconds

    def _with_state(self, output: RequestOutput, request: Request | None) -> RequestOutput:
        if request is None or request.kept is None:
            return output
        state = self._codec.encode(request.kept, request.kept_token_ids())
        return msgspec.structs.replace(output, state=state)
