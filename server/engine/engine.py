"""The whole server on one screen: schedule, run, process, update."""

from server.engine.cache_use import READS_AND_WRITES, CacheUse
from server.engine.model_runner import ModelRunner
from server.engine.output_processor import OutputProcessor
from server.engine.outputs import RequestOutput
from server.engine.request import Request
from server.engine.scheduler import Scheduler
from server.sampling.params import SamplingParams


class Engine:
    """Computes any number of requests, step by step, on the calling thread."""

    def __init__(
        self, scheduler: Scheduler, runner: ModelRunner, processor: OutputProcessor
    ) -> None:
        self._scheduler = scheduler
        self._runner = runner
        self._processor = processor

    @property
    def has_work(self) -> bool:
        """Whether step() would compute anything."""
        return self._scheduler.has_work

    def add(
        self,
        request_id: str,
        prompt_ids: list[int],
        params: SamplingParams,
        initial_state: str = "",
        use: CacheUse = READS_AND_WRITES,
    ) -> None:
        """Queue a request. The prompt must not be empty and its ids must be in the vocabulary.

        initial_state names one of the states that the model was loaded with.
        """
        assert prompt_ids
        request = Request(request_id, prompt_ids, params, initial_state, use)
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

    def step(self) -> list[RequestOutput]:
        """Compute one batch; return the news of its requests."""
        batch = self._scheduler.schedule()
        result = self._runner.run(batch)
        outputs, finished = self._processor.process(batch, result)
        self._scheduler.update(batch, result, finished)
        for request in finished:
            self._runner.keep_reply(request)
            self._runner.release(request)
        return outputs
