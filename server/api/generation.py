"""A request's choices while the engine generates them: submitted, awaited together, aborted."""

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self
from weakref import WeakKeyDictionary

from starlette.types import Receive, Scope

from server.access.admission import Ticket
from server.api.access import admit, refusal
from server.api.call import TracedGeneration, call_of
from server.api.choice_logprobs import ChoiceLogprobs
from server.api.choices import Finish, GeneratedChoice, News, TokenCount
from server.api.errors import ApiError, ClientGoneError, not_ready, queue_full
from server.api.logprobs import LogprobEntry
from server.api.plan import Plan
from server.api.text_threads import disconnected
from server.api.trained_length import length_header, watch_length
from server.assistant.answer import Delta
from server.assistant.form import AnswerForm
from server.assistant.reader import AnswerReader
from server.pool.client import TURN_SIZE, NotReadyError, OutputStream, QueueFullError
from server.protocol.outputs import RequestOutput, size_of
from server.protocol.task import Task
from server.registry.manager import Route
from server.telemetry.request_metrics import RequestRecord
from server.telemetry.transcript import log_answer, log_prompts

_CHOICES_AT_ONCE = 16
"""Whose outputs are taken in before others have their turn: each costs a part of a millisecond, and
a request can have thousands."""
_turns_of: "WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]" = WeakKeyDictionary()


def _turns() -> asyncio.Lock:
    """Of requests with many outputs, one at each turn of the loop."""
    return _turns_of.setdefault(asyncio.get_running_loop(), asyncio.Lock())


class Generation:
    """All choices of one HTTP request; leaving the context aborts those that still run.

    Entering admits and submits them: all, or none when it raises ApiError (queue_full,
    rate_limit_exceeded, loading). If the plan says how many may run at once, those that are left
    are submitted as others finish.
    """

    def __init__(self, route: Route, plan: Plan, scope: Scope, receive: Receive) -> None:
        self.tokens = TokenCount(prompt=sum(len(ids) for ids in plan.prompts))
        self._call = call_of(scope)
        self._call.tokens = self.tokens
        self.choices: list[GeneratedChoice] = []
        """As far as news() has told."""
        watch_length(self._call, route.served, plan, self.choices)
        self._route = route
        self._plan = plan
        self._scope = scope
        self._receive = receive
        self._ticket: Ticket | None = None
        self._records: list[RequestRecord] = []
        self._streams: list[OutputStream] = []
        """Of all that runs, also before running choices are told apart, and of kept states."""
        self._logprobs = ChoiceLogprobs(route.served.tokenizer, plan)
        self._running: dict[int, OutputStream] = {}
        """By the index of their choices."""
        self._is_behind = False
        """Whether there is news that was not taken in the last time."""
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
                self.choices.append(_choice(plan, len(self.choices)))
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
        self._gone = asyncio.create_task(disconnected(self._receive))
        self._gone.add_done_callback(lambda _: self._arrived.set())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._abort()
        length_header(self._call)  # of a stream, which has sent its own, for the log

    @property
    def running(self) -> bool:
        """Whether some choice has not finished."""
        return bool(self._running)

    async def news(self, silence: float | None = None) -> list[News]:
        """Wait for outputs; [] after so many seconds without any.

        What is given at once is some milliseconds of work, however much has come. Raises
        ClientGoneError when the client left, and ApiError when the engine failed or a deadline has
        passed.
        """
        await self._wait(silence)
        self._arrived.clear()
        ready = [index for index, stream in self._running.items() if stream.has_news]
        if self._is_behind or len(ready) > _CHOICES_AT_ONCE:
            async with _turns():
                await asyncio.sleep(0)
                return self._take_some(ready)
        return self._take_some(ready)

    async def collect(
        self, take: Callable[[News], object] = lambda _: None
    ) -> list[GeneratedChoice]:
        """Wait for all choices to finish; `take` gets the news. Raises like news()."""
        while self.running:
            for news in await self.news():
                take(news)
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

    def _take_some(self, ready: list[int]) -> list[News]:
        """The news of the first of these choices; the others have their turn before them again."""
        found: list[News] = []
        size = 0
        for index in ready[:_CHOICES_AT_ONCE]:
            if size >= TURN_SIZE:
                break
            output = self._running[index].take()
            size += size_of(output)
            found.append(self._take_in(index, output))
        self._is_behind = any(stream.has_news for stream in self._running.values())
        if self._is_behind:
            self._arrived.set()
            for news in found:
                if news.index in self._running:
                    self._running[news.index] = self._running.pop(news.index)
        return found

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
        logprobs, of_prompt = self._logprobs.take_in(index, choice, output)
        choice.state, choice.embedding = output.state, output.embedding
        deltas: Sequence[Delta] = ()
        of_content: list[LogprobEntry] = []
        if self._plan.form is not None:
            deltas = choice.reader.read(output.text, is_last=finish is not None)
            of_content = self._logprobs.of_content(index, output, logprobs, deltas)
            choice.reader.count(choice.token_ids, self._route.served.tokenizer)
        if finish is not None:
            finish = choice.finish_reason = self._finish(index, finish)
        stop = output.stop_string
        return News(
            index,
            output.text,
            finish,
            logprobs,
            of_content,
            of_prompt,
            deltas,
            output.token_ids,
            stop,
        )

    def _finish(self, index: int, finish: Finish) -> Finish:
        """The reason as the API tells it; the next choice that waits takes the place."""
        reader = self.choices[index].reader
        self.tokens.reasoning += reader.reasoning_tokens
        reason: Finish = "tool_calls" if finish == "stop" and reader.stops_for_calls else finish
        self.tokens.finish_reasons.append(reason)
        self._streams.remove(self._running.pop(index))
        self._logprobs.forget(index)
        if len(self.choices) < len(self._plan.choices):
            self._submit_next()
        return reason

    def _submit_next(self) -> None:
        """In the place of one that has finished."""
        index = len(self.choices)
        try:
            stream = self._route.submit_admitted(self._plan.choices[index])
        except NotReadyError as error:
            raise not_ready(error) from None
        self._streams.append(stream)
        self.choices.append(_choice(self._plan, index))
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
        call, metrics = self._call, self._call.metrics
        assert metrics is not None
        if call.logs_prompts:
            log_prompts(self._plan.prompts, self._route.served.tokenizer)
        model, operation = self._route.served.spec.id, self._plan.operation
        records = [
            metrics.begin(model, operation, len(task.prompt_ids), call.started)
            for task in self._plan.choices
        ]
        choices = self._plan.choices
        call.generation = TracedGeneration(
            self._route.id, operation, choices[0].params, len(choices), records
        )
        return records

    def _abort(self) -> None:
        if self._ticket is not None:
            self._ticket.close()
        for record in self._records:
            record.abort()
        if self._call.logs_prompts:
            for index, (record, choice) in enumerate(
                zip(self._records, self.choices, strict=False)
            ):
                log_answer(index, choice.text, len(choice.token_ids), record.finish_reason)
        if self._gone is not None:
            self._gone.cancel()
        for stream in self._streams:
            stream.abort()


def _choice(plan: Plan, index: int) -> GeneratedChoice:
    return GeneratedChoice(reader=AnswerReader(plan.form or AnswerForm()), index=index)


def _finish_reason(output: RequestOutput) -> Finish | None:
    if output.finish_reason != "error" and output.finish_reason != "abort":
        return output.finish_reason
    if output.error_code == "grammar_error":  # what the request asks for is at fault
        raise ApiError(output.error_code, output.error or "grammar")
    raise ApiError(output.error_code, f"The engine failed: {output.error or 'aborted'}")
