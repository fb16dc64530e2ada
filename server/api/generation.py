"""A request's choices while the engine generates them: submitted, awaited together, aborted."""

import asyncio
import contextlib
import math
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from starlette.types import Receive, Scope

from server.access.admission import Ticket
from server.api.access import admit, refusal
from server.api.assistant.answer import Delta
from server.api.assistant.form import AnswerForm
from server.api.assistant.reader import AnswerReader
from server.api.choices import Finish, GeneratedChoice, News, TokenCount
from server.api.errors import ApiError, ClientGoneError, not_ready
from server.api.logprobs import LogprobEntry, LogprobText, prompt_entries
from server.api.plan import Plan
from server.api.request_metrics import RequestMetrics, RequestRecord
from server.api.tracing import TracedGeneration
from server.api.transcript import log_answer, log_prompts
from server.registry.manager import Route
from server.workers.client import NotReadyError, OutputStream, QueueFullError
from server.workers.messages import RequestOutput, Task


class Generation:
    """All choices of one HTTP request; leaving the context aborts those that still run.

    Entering admits and submits them: all, or none when it raises ApiError (queue_full,
    rate_limit_exceeded, loading). If the plan says how many may run at once, those that are left
    are submitted as others finish.
    """

    def __init__(self, route: Route, plan: Plan, scope: Scope, receive: Receive) -> None:
        self.tokens = TokenCount(prompt=sum(len(ids) for ids in plan.prompts))
        scope.setdefault("state", {})["tokens"] = self.tokens
        self.choices: list[GeneratedChoice] = []
        """As far as news() has told."""
        self._route = route
        self._plan = plan
        self._scope = scope
        self._receive = receive
        self._ticket: Ticket | None = None
        self._records: list[RequestRecord] = []
        self._streams: list[OutputStream] = []
        tokenizer = route.served.tokenizer
        self._logprobs = [LogprobText(tokenizer, task.params) for task in plan.choices]
        self._running: dict[int, OutputStream] = {}
        """By the index of their choices."""
        self._arrived = asyncio.Event()
        """Set when a running choice has news or the client has left."""
        self._gone: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        plan = self._plan
        sizes = [len(ids) for ids in plan.prompts]
        self._ticket = admit(self._scope, sizes, plan.choices_per_prompt, plan.at_once)
        try:
            for task in plan.choices[: self._ticket.at_once]:
                self._streams.append(self._route.submit(task, plan.key))
                self.choices.append(_choice(plan))
        except BaseException as error:
            self._ticket.withdraw()
            self._abort()
            if isinstance(error, QueueFullError):
                raise queue_full(error) from None
            if isinstance(error, NotReadyError):
                raise not_ready(error) from None
            raise
        self._records = self._begin_records()
        self._running = dict(enumerate(self._streams))
        for stream in self._streams:
            stream.announce_to(self._arrived)
        self._gone = asyncio.create_task(_disconnected(self._receive))
        self._gone.add_done_callback(lambda _: self._arrived.set())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._abort()

    @property
    def running(self) -> bool:
        """Whether some choice has not finished."""
        return bool(self._running)

    async def news(self, silence: float | None = None) -> list[News]:
        """Wait for outputs; [] after so many seconds without any.

        Raises ClientGoneError when the client left, and ApiError when the engine failed or a
        deadline has passed.
        """
        await self._wait(silence)
        self._arrived.clear()
        ready = [(index, stream) for index, stream in self._running.items() if stream.has_news]
        return [self._take_in(index, stream.take()) for index, stream in ready]

    async def collect(self) -> list[GeneratedChoice]:
        """Wait for all choices to finish; raises like news()."""
        while self.running:
            await self.news()
        return self.choices

    async def state_after(self, task: Task) -> bytes:
        """Have a task that keeps its state done when the only choice has finished.

        It runs where the choice has left its cached states, and does not count as a request more.
        Raises like news(), and when the worker is gone.
        """
        assert self._gone is not None
        try:
            stream = self._route.submit_admitted(task)
        except NotReadyError as error:
            raise not_ready(error) from None
        self._streams.append(stream)
        wait = asyncio.create_task(stream.get())
        try:
            await asyncio.wait([wait, self._gone], return_when=asyncio.FIRST_COMPLETED)
            if self._gone.done():
                raise ClientGoneError
            output = wait.result()
        finally:
            wait.cancel()
        _finish_reason(output)
        return output.state

    def _take_in(self, index: int, output: RequestOutput) -> News:
        assert self._ticket is not None
        self._ticket.news(index, len(output.token_ids), output.finish_reason is not None)
        self._records[index].news(output)
        self.tokens.completion += len(output.token_ids)
        if index % self._plan.choices_per_prompt == 0:
            self.tokens.cached += output.cached_tokens
            self.tokens.written += output.written_tokens
        choice, finish = self.choices[index], _finish_reason(output)
        choice.pieces.append(output.text)
        choice.token_ids += output.token_ids
        choice.finish_reason = finish
        logprobs, of_prompt = self._take_in_logprobs(index, output)
        choice.state, choice.embedding = output.state, output.embedding
        deltas: Sequence[Delta] = ()
        if self._plan.form is not None:
            deltas = choice.reader.read(output.text, is_last=finish is not None)
        if finish is not None:
            finish = choice.finish_reason = self._finish(index, finish)
        said = output.text, finish, logprobs, of_prompt, deltas
        return News(index, *said, stop_string=output.stop_string)

    def _finish(self, index: int, finish: Finish) -> Finish:
        """The reason as the API tells it; the next choice that waits takes the place."""
        reader, tokenizer = self.choices[index].reader, self._route.served.tokenizer
        ids = self.choices[index].token_ids
        self.tokens.reasoning += reader.reasoning_tokens(ids, tokenizer)
        reason: Finish = "tool_calls" if finish == "stop" and reader.stops_for_calls else finish
        self.tokens.finish_reasons.append(reason)
        del self._running[index]
        if len(self.choices) < len(self._plan.choices):
            self._submit_next()
        return reason

    def _take_in_logprobs(
        self, index: int, output: RequestOutput
    ) -> tuple[list[LogprobEntry], list[LogprobEntry]]:
        """Those that go with the output's text, and of the prompt."""
        task, choice = self._plan.choices[index], self.choices[index]
        if task.params.logprobs < 0:
            return [], []
        choice.logprob_sum += sum(each.logprob for each in output.logprobs)
        logprobs, of_prompt = self._logprobs[index].push(output), []
        if output.prompt_logprobs:
            ids = task.prompt_ids[task.params.prompt_logprobs_from :]
            tokenizer = self._route.served.tokenizer
            of_prompt = prompt_entries(ids, output.prompt_logprobs, tokenizer)
        choice.logprobs += logprobs
        choice.prompt_logprobs += of_prompt
        return logprobs, of_prompt

    def _submit_next(self) -> None:
        """In the place of one that has finished."""
        index = len(self.choices)
        try:
            stream = self._route.submit_admitted(self._plan.choices[index])
        except NotReadyError as error:
            raise not_ready(error) from None
        self._streams.append(stream)
        self.choices.append(_choice(self._plan))
        self._running[index] = stream
        stream.announce_to(self._arrived)

    async def _wait(self, silence: float | None) -> None:
        """Until there are news, or for so many seconds."""
        assert self._gone is not None
        assert self._ticket is not None
        left = self._ticket.seconds_left
        is_last_chance = left <= (math.inf if silence is None else silence)
        seconds = left if is_last_chance else silence
        if not self._arrived.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if seconds == math.inf else seconds):
                    await self._arrived.wait()
        if self._gone.done():
            raise ClientGoneError
        if left <= 0 or (is_last_chance and not self._arrived.is_set()):
            raise refusal(self._ticket.overdue())

    def _begin_records(self) -> list[RequestRecord]:
        state = self._scope["state"]
        metrics: RequestMetrics = state["metrics"]
        if state["logs_prompts"]:
            log_prompts(self._plan.prompts, self._route.served.tokenizer)
        model, operation = self._route.served.spec.id, self._plan.operation
        records = [
            metrics.begin(model, operation, len(task.prompt_ids), state["started"])
            for task in self._plan.choices
        ]
        state["generation"] = TracedGeneration(self._route.id, self._plan, records)
        return records

    def _abort(self) -> None:
        if self._ticket is not None:
            self._ticket.close()
        for record in self._records:
            record.abort()
        if self._scope["state"]["logs_prompts"]:
            for index, (record, choice) in enumerate(
                zip(self._records, self.choices, strict=False)
            ):
                log_answer(index, choice.text, len(choice.token_ids), record.finish_reason)
        if self._gone is not None:
            self._gone.cancel()
        for stream in self._streams:
            stream.abort()


def _choice(plan: Plan) -> GeneratedChoice:
    return GeneratedChoice(reader=AnswerReader(plan.form or AnswerForm()))


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _finish_reason(output: RequestOutput) -> Finish | None:
    if output.finish_reason != "error" and output.finish_reason != "abort":
        return output.finish_reason
    if output.error_code == "grammar_error":  # what the request asks for is at fault
        raise ApiError(output.error_code, output.error or "grammar")
    raise ApiError(output.error_code, f"The engine failed: {output.error or 'aborted'}")


def queue_full(error: QueueFullError) -> ApiError:
    """The 429 of a server that has enough to do."""
    return ApiError("queue_full", f"Try again later: {error}", retry_after=error.retry_after)
