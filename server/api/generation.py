"""A request's choices while the engine generates them: submitted, awaited together, aborted."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

from starlette.types import Receive, Scope

from server.access.admission import Ticket
from server.api.access import admit, refusal
from server.api.assistant.answer import Answer, Delta
from server.api.assistant.form import AnswerForm
from server.api.assistant.reader import AnswerReader
from server.api.errors import ApiError, ClientGoneError, not_ready
from server.api.plan import Plan
from server.api.request_metrics import RequestMetrics, RequestRecord
from server.api.schemas.usage import CompletionTokensDetails, PromptTokensDetails, Usage
from server.registry.manager import Route
from server.workers.client import NotReadyError, OutputStream, QueueFullError
from server.workers.messages import RequestOutput, Task

Finish = Literal["stop", "length", "tool_calls"]


@dataclass
class TokenCount:
    """Tokens of the prompts, and generated so far; the access log reads it at the end."""

    prompt: int
    completion: int = 0
    cached: int = 0
    """Of the prompts' tokens, how many came from the state cache; of each prompt's first choice."""
    written: int = 0
    """And how many more are in the state cache now."""
    reasoning: int = 0
    """Of the generated tokens, how many are thoughts; of choices that have finished."""
    finish_reasons: list[str] = field(default_factory=list)
    """Of the choices that have finished, in the order in which they did."""

    def usage(self) -> Usage:
        """As the API reports it."""
        return Usage(
            prompt_tokens=self.prompt,
            completion_tokens=self.completion,
            total_tokens=self.prompt + self.completion,
            prompt_tokens_details=PromptTokensDetails(
                cached_tokens=self.cached, cache_write_tokens=self.written
            ),
            completion_tokens_details=CompletionTokensDetails(reasoning_tokens=self.reasoning),
        )


@dataclass
class GeneratedChoice:
    """A choice that the engine goes on with until `finish_reason` is set."""

    pieces: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    """Also of a stop token, and of text that a stop string has cut off."""
    finish_reason: Finish | None = None
    state: bytes = b""
    """At the end, if its task keeps the state."""
    reader: AnswerReader = field(default_factory=lambda: AnswerReader(AnswerForm()))
    """Has read the text as an assistant's answer, if the plan says what form that has."""

    @property
    def text(self) -> str:
        """All of it so far."""
        return "".join(self.pieces)

    @property
    def answer(self) -> Answer:
        """The text as an assistant's message."""
        return self.reader.answer


@dataclass(frozen=True)
class News:
    """What a choice got since the last time."""

    index: int
    text: str
    finish_reason: Finish | None
    deltas: Sequence[Delta] = ()
    """What the text makes of an assistant's answer."""


class Generation:
    """All choices of one HTTP request; leaving the context aborts those that still run.

    Entering admits and submits them: all, or none when it raises ApiError (queue_full,
    rate_limit_exceeded, loading).
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
        self._waits: dict[asyncio.Task[RequestOutput], int] = {}
        self._gone: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        plan = self._plan
        sizes = [len(ids) for ids in plan.prompts]
        self._ticket = admit(self._scope, sizes, plan.choices_per_prompt)
        try:
            for task in plan.choices:
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
        for index in range(len(self._streams)):
            self._await_output(index)
        self._gone = asyncio.create_task(_disconnected(self._receive))
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
        return bool(self._waits)

    async def news(self, silence: float | None = None) -> list[News]:
        """Wait for outputs; [] after so many seconds without any.

        Raises ClientGoneError when the client left, and ApiError when the engine failed or a
        deadline has passed.
        """
        done = await self._wait(silence)
        ready = [wait for wait in self._waits if wait in done]
        return [self._take_in(self._waits.pop(wait), wait.result()) for wait in ready]

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
        choice.state = output.state
        if finish is None:
            self._await_output(index)
        deltas: Sequence[Delta] = ()
        if self._plan.form is not None:
            deltas = choice.reader.read(output.text, is_last=finish is not None)
        if finish is not None:
            finish = choice.finish_reason = self._finish(choice, finish)
        return News(index, output.text, finish, deltas)

    def _finish(self, choice: GeneratedChoice, finish: Finish) -> Finish:
        reader = choice.reader
        tokenizer = self._route.served.tokenizer
        self.tokens.reasoning += reader.reasoning_tokens(choice.token_ids, tokenizer)
        reason: Finish = "tool_calls" if finish == "stop" and reader.stops_for_calls else finish
        self.tokens.finish_reasons.append(reason)
        return reason

    async def _wait(self, silence: float | None) -> set[asyncio.Task[Any]]:
        assert self._gone is not None
        assert self._ticket is not None
        left = self._ticket.seconds_left
        is_last_chance = left <= (math.inf if silence is None else silence)
        seconds = left if is_last_chance else silence
        done, _ = await asyncio.wait(
            [*self._waits, self._gone],
            timeout=None if seconds == math.inf else seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if self._gone in done:
            raise ClientGoneError
        if left <= 0 or (is_last_chance and not done):
            raise refusal(self._ticket.overdue())
        return done

    def _begin_records(self) -> list[RequestRecord]:
        state = self._scope["state"]
        metrics: RequestMetrics = state["metrics"]
        model, operation = self._route.served.spec.id, self._plan.operation
        return [
            metrics.begin(model, operation, len(task.prompt_ids), state["started"])
            for task in self._plan.choices
        ]

    def _await_output(self, index: int) -> None:
        self._waits[asyncio.create_task(self._streams[index].get())] = index

    def _abort(self) -> None:
        if self._ticket is not None:
            self._ticket.close()
        for record in self._records:
            record.abort()
        for wait in self._waits:
            wait.cancel()
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
    if output.finish_reason == "error" or output.finish_reason == "abort":
        raise ApiError(output.error_code, f"The engine failed: {output.error or 'aborted'}")
    return output.finish_reason


def queue_full(error: QueueFullError) -> ApiError:
    """The 429 of a server that has enough to do."""
    return ApiError("queue_full", f"Try again later: {error}", retry_after=error.retry_after)
