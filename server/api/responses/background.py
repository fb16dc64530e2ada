"""Responses that are made without their clients, also by the next server where this one stops.

Who makes a response holds a lease on it in the store, which is renewed while the server lives. What
has no lease any more is taken over, by this or another server on the same store, and made anew from
the beginning: its seed is kept, so it becomes the same.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from time import perf_counter
from typing import Any

from starlette.types import Message, Scope

from server.access.admission import Admission
from server.access.caller import ANYBODY
from server.api.conversations import Conversations
from server.api.errors import ApiError, internal_error
from server.api.generation import Generation
from server.api.lease import enter_lease
from server.api.read_ahead import ReadAhead
from server.api.request_metrics import RequestMetrics
from server.api.responses.answer import Answer
from server.api.responses.run import Run
from server.api.responses.text_logprobs import TextLogprobs
from server.api.responses.turn import Turn, plan_turn
from server.api.schemas.responses import ResponseRequest
from server.api.tenant import Owner
from server.config import Settings
from server.conversations.records import NewResponse, Unfinished
from server.grammars.checker import GrammarChecker
from server.registry.manager import ModelManager

log = logging.getLogger(__name__)

TICK_SECONDS = 5.0
LEASE_SECONDS = 4 * TICK_SECONDS
SWEEP_SECONDS = 3600.0
FOLLOWED_SECONDS = 300.0
"""How long the events of a response are kept after its end, as OpenAI has it."""
FOLLOWED_BYTES = 64 << 20
"""And how many of them, as long as others run."""

_PASSES = ("loading", "queue_full", "responses_unavailable")
"""Errors after which a response that was taken over is tried again."""


class Background:
    """The runs of this server."""

    def __init__(
        self,
        settings: Settings,
        models: ModelManager,
        kept: Conversations,
        read_ahead: ReadAhead,
        metrics: RequestMetrics,
        admission: Admission,
        checker: GrammarChecker,
    ) -> None:
        self._settings = settings
        self._models = models
        self._kept = kept
        self._read_ahead = read_ahead
        self._checker = checker
        self._scope_state = {
            "caller": ANYBODY,
            "admission": admission,
            "metrics": metrics,
            "logs_prompts": settings.logging.prompts,
        }
        self._runs: dict[str, Run] = {}

    @property
    def running(self) -> int:
        """How many responses are being made."""
        return sum(run.ended_at is None for run in self._runs.values())

    async def start(self, turn: Turn, scope: Scope) -> Run:
        """Begin to make a response, which is kept from now on. Raises ApiError."""
        if self.running >= self._settings.responses.max_background:
            message = "Try again later: the server makes enough responses in the background"
            raise ApiError("queue_full", message, "background", retry_after=5.0)
        answer = Answer(turn.new_response(), turn.logprob_tokenizer)
        run = self._register(turn, answer)
        new = NewResponse(
            answer.response,
            turn.input_items,
            request={"body": _as_sent(turn.body), "priority": turn.owner.priority},
            lease_until=time.time() + LEASE_SECONDS,
        )
        tenant = turn.owner.tenant
        try:
            with ExitStack() as exits:
                exits.enter_context(turn.route.lease())
                generation = Generation(turn.route, turn.plan, scope, _nobody_leaves)
                exits.enter_context(generation)  # admitted now, or never
                await self._kept.call(self._kept.responses.add, tenant, turn.context, new)
                self._launch(run, turn, generation, exits.pop_all())
        except BaseException:
            del self._runs[answer.response["id"]]
            raise
        return run

    async def cancel(self, tenant: str, ident: str) -> dict[str, Any]:
        """End a response, wherever it is made; one that has ended is as it was. Raises ApiError."""
        body = await self._kept.call(self._kept.responses.get, tenant, ident)
        if not body["background"]:
            message = "Only responses created with background=true can be cancelled"
            raise ApiError("invalid_value", message, "id")
        cancelled = body | {"status": "cancelled"}
        if await self._kept.call(self._kept.responses.advance, cancelled):
            self._stop(ident)
            return cancelled
        return await self._kept.call(self._kept.responses.get, tenant, ident)

    async def remove(self, tenant: str, ident: str) -> None:
        """Delete a response, and end it if it is being made. Raises ApiError."""
        await self._kept.call(self._kept.responses.remove, tenant, ident)
        self._stop(ident)
        self._runs.pop(ident, None)

    def follow(self, tenant: str, ident: str, starting_after: int) -> AsyncIterator[bytes]:
        """The events of a run of this server, in a stream. Raises ApiError."""
        run = self._runs.get(ident)
        if run is None or run.tenant != tenant or not run.is_streamed:
            message = (
                "This response cannot be streamed: only those created with background=true and "
                "stream=true can, until five minutes after their end"
            )
            raise ApiError("invalid_value", message, "stream")
        return run.follow(starting_after, self._settings.http.ping_seconds)

    async def keep(self) -> None:
        """Renew, take over and sweep, for ever."""
        sweep_at, is_failing = 0.0, False
        while self._kept.available:
            try:
                if time.monotonic() >= sweep_at:
                    await self._kept.call(self._kept.responses.sweep)
                    sweep_at = time.monotonic() + SWEEP_SECONDS
                await self.tick()
                is_failing = False
            except ApiError as error:
                if not is_failing:
                    log.warning("responses in the background are left alone: %s", error.code)
                is_failing = True
            except Exception:
                log.exception("unexpected error about responses in the background")
            await asyncio.sleep(TICK_SECONDS)

    async def tick(self) -> None:
        """What is to be done every few seconds. Raises ApiError."""
        now = asyncio.get_running_loop().time()
        for ident, run in list(self._runs.items()):
            if run.ended_at is not None and now - run.ended_at > FOLLOWED_SECONDS:
                del self._runs[ident]
        mine = [ident for ident, run in self._runs.items() if run.can_be_stopped]
        if mine:
            until = time.time() + LEASE_SECONDS
            renewed = await self._kept.call(self._kept.responses.renew, mine, until)
            for ident in set(mine) - renewed:  # cancelled or removed by way of another server
                self._stop(ident)
        if self._models.started and not self._models.closed:
            await self._take_over(self._settings.responses.max_background - self.running)

    async def stop(self) -> None:
        """End all runs; whoever is the next to look goes on with them."""
        running = {ident: run for ident, run in self._runs.items() if run.ended_at is None}
        for run in running.values():
            run.stop()
        tasks = (run.task for run in running.values() if run.task is not None)
        await asyncio.gather(*tasks, return_exceptions=True)
        if running:
            with suppress(ApiError):
                await self._kept.call(self._kept.responses.renew, list(running), 0.0)

    def _stop(self, ident: str) -> None:
        run = self._runs.get(ident)
        if run is not None and run.can_be_stopped:
            run.stop()

    def _register(self, turn: Turn, answer: Answer) -> Run:
        run = Run(turn.owner.tenant, answer, turn.body.stream)
        self._forget_some()
        self._runs[answer.response["id"]] = run
        return run

    def _launch(self, run: Run, turn: Turn, generation: Generation, exits: ExitStack) -> None:
        run.tell(run.answer.opening())
        run.task = asyncio.create_task(self._make(run, turn, generation, exits))

    async def _make(self, run: Run, turn: Turn, generation: Generation, exits: ExitStack) -> None:
        answer = run.answer
        try:
            with exits:
                while generation.running:
                    for news in await generation.news():
                        if answer.response["status"] == "queued":
                            run.tell(answer.begin())
                            await self._advance(answer)
                        run.tell(answer.news(news))
                closing = answer.closing(generation.tokens.usage())
                run.is_settled = True
                await self._advance(answer)
                run.tell(closing)
                turn.read_ahead(self._read_ahead, generation.choices)
        except ApiError as error:
            await self._fail(run, error)
        except Exception:
            log.exception("unexpected error in the background")
            await self._fail(run, internal_error())
        finally:
            run.end()

    async def _advance(self, answer: Answer) -> None:
        """Keep what there is now, unless somebody has cancelled or removed it."""
        await self._kept.call(self._kept.responses.advance, answer.response, (*answer.output,))

    async def _fail(self, run: Run, error: ApiError) -> None:
        """Keep that it failed, unless it is only that the server stops."""
        if self._models.closed or error.code == "responses_unavailable":
            return  # it will be made when the lease is over
        run.tell(run.answer.failure(error))
        run.answer.output.clear()
        try:
            await self._advance(run.answer)
        except ApiError as refusal:
            if refusal.code == "responses_full":  # not even that: nobody shall try for ever
                remove, ident = self._kept.responses.remove, run.answer.response["id"]
                with suppress(ApiError):
                    await self._kept.call(remove, run.tenant, ident)

    async def _take_over(self, most: int) -> None:
        if most <= 0:
            return
        until = time.time() + LEASE_SECONDS
        for found in await self._kept.call(self._kept.responses.claim, until, most):
            ident = found.body["id"]
            log.info("response %s is made again: its server has stopped", ident)
            answer = Answer(found.body | {"status": "queued"})
            try:
                await self._resume(found, answer)
            except ApiError as error:
                if error.code in _PASSES:
                    await self._kept.call(self._kept.responses.renew, [ident], 0.0)
                    return  # the others would fare alike
                await self._fail(Run(found.tenant, answer, False), error)
            except Exception:
                log.exception("response %s cannot be made again", ident)
                await self._fail(Run(found.tenant, answer, False), internal_error())

    async def _resume(self, found: Unfinished, answer: Answer) -> None:
        body = ResponseRequest.model_validate_json(found.request["body"])
        owner = Owner(found.tenant, found.request["priority"])
        scope: Scope = {"state": {**self._scope_state, "started": perf_counter()}}
        with ExitStack() as exits:
            route = enter_lease(exits, self._models, body.model)
            read = found.context, list(found.input_items)
            turn = await plan_turn(body, owner, route, self._settings, *read, self._checker)
            answer.text = TextLogprobs(turn.logprob_tokenizer)
            generation = Generation(route, turn.plan, scope, _nobody_leaves)
            exits.enter_context(generation)
            self._launch(self._register(turn, answer), turn, generation, exits.pop_all())

    def _forget_some(self) -> None:
        """Bound the events that are kept after the end."""
        held = 0
        for ident, run in reversed(list(self._runs.items())):
            held += run.size
            if run.ended_at is not None and held > FOLLOWED_BYTES:
                del self._runs[ident]


def with_seed(body: ResponseRequest) -> ResponseRequest:
    """The request with a seed, so that it can be made again."""
    return body if body.seed is not None else body.model_copy(update={"seed": secrets.randbits(63)})


def _as_sent(body: ResponseRequest) -> str:
    """The request as JSON without its items, which are kept by themselves."""
    return body.model_dump_json(exclude={"input"}, exclude_unset=True)


async def _nobody_leaves() -> Message:
    await asyncio.get_running_loop().create_future()
    raise AssertionError
