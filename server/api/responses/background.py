"""Responses that are made without their clients, also by the next server where this one stops.

Who makes a response holds a lease on it in the store, which is renewed while the server lives. What
has no lease any more is taken over, by this or another server on the same store, and made anew from
the beginning: its seed is kept, so it becomes the same. It is made for the owner of its key, with
the limits that the key has by then; when the key is taken back it fails.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress

from starlette.types import Message, Scope

from server.access.admission import Admission
from server.access.caller import Caller
from server.access.keys import Keys
from server.api.call import Call, Owner, state_with
from server.api.caller_settings import settings_of
from server.api.conversations import Conversations
from server.api.errors import ApiError, internal_error
from server.api.generation import Generation
from server.api.lease import enter_lease
from server.api.read_ahead import ReadAhead
from server.api.responses.answer import Answer
from server.api.responses.remaking import as_sent
from server.api.responses.run import Run
from server.api.responses.runs import Runs
from server.api.responses.text_logprobs import TextLogprobs
from server.api.responses.turn import Turn, plan_turn
from server.api.schemas.responses import ResponseRequest
from server.api.states import States
from server.config import Settings
from server.grammars.checker import GrammarChecker
from server.json_pieces import JsonDocument
from server.registry.manager import ModelManager
from server.stores.responses.records import NewResponse, Unfinished
from server.telemetry.request_metrics import RequestMetrics

log = logging.getLogger(__name__)

TICK_SECONDS = 5.0
LEASE_SECONDS = 4 * TICK_SECONDS
SWEEP_SECONDS = 3600.0
_PASSES = ("loading", "queue_full", "rate_limit_exceeded", "responses_unavailable")
"""Errors after which a response that was taken over is tried again."""


class Background:
    """The runs of this server."""

    def __init__(
        self,
        settings: Settings,
        models: ModelManager,
        kept: Conversations,
        states: States,
        read_ahead: ReadAhead,
        metrics: RequestMetrics,
        admission: Admission,
        checker: GrammarChecker,
        keys: Keys,
    ) -> None:
        self._settings = settings
        self._models = models
        self._kept = kept
        self._states = states
        self._read_ahead = read_ahead
        self._checker = checker
        self._admission, self._metrics = admission, metrics
        self._runs = Runs()
        self._keys = keys
        self._revoking: asyncio.Task[None] | None = None
        keys.watch(self._revoke_soon)

    @property
    def running(self) -> int:
        """How many responses are being made."""
        return self._runs.running

    async def start(self, turn: Turn, scope: Scope) -> Run:
        """Begin to make a response, which is kept from now on. Raises ApiError."""
        tenant, most = turn.owner.tenant, self._settings.responses.max_background
        self._runs.check_room(tenant, most, self._keys.are_several)
        answer = turn.new_answer()
        run = self._register(turn, answer)
        new = NewResponse(
            answer.response,
            turn.input_items,
            request={"body": as_sent(turn.body), "priority": turn.owner.priority},
            lease_until=time.time() + LEASE_SECONDS,
        )
        try:
            with ExitStack() as exits:
                exits.enter_context(turn.route.lease())
                generation = Generation(turn.route, turn.plan, scope, _nobody_leaves)
                exits.enter_context(generation)  # admitted now, or never
                await self._kept.call(self._kept.responses.add, tenant, turn.context, new)
                self._launch(run, turn, generation, exits.pop_all())
        except BaseException:
            self._runs.remove(answer.response["id"])
            raise
        return run

    async def cancel(self, tenant: str, ident: str) -> JsonDocument:
        """End a response, wherever it is made; one that has ended is as it was. Raises ApiError."""
        kept, store = self._kept, self._kept.responses
        body = await kept.call(store.get_unfinished, tenant, ident)
        if body is not None and await kept.call(store.advance, body | {"status": "cancelled"}):
            self._runs.stop(ident)
        is_background, text = await kept.call(store.read_about, tenant, ident)
        if not is_background:
            message = "Only responses created with background=true can be cancelled"
            raise ApiError("invalid_value", message, "id")
        return await kept.call(JsonDocument, text)

    async def remove(self, tenant: str, ident: str) -> None:
        """Delete a response, and end it if it is being made. Raises ApiError."""
        await self._kept.call(self._kept.responses.remove, tenant, ident)
        self.forget(ident)

    def forget(self, ident: str) -> None:
        """End a response that is not kept any more, if it is being made here."""
        self._runs.stop(ident)
        self._runs.remove(ident)

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
        self._runs.forget_old(asyncio.get_running_loop().time())
        await self._end_revoked()
        mine = [ident for ident, run in self._runs if run.can_be_stopped]
        if mine:
            until = time.time() + LEASE_SECONDS
            renewed = await self._kept.call(self._kept.responses.renew, mine, until)
            for ident in set(mine) - renewed:  # cancelled or removed by way of another server
                self._runs.stop(ident)
        if self._models.started and not self._models.closed:
            await self._take_over(self._settings.responses.max_background - self.running)

    async def stop(self) -> None:
        """End all runs; whoever is the next to look goes on with them."""
        running = {ident: run for ident, run in self._runs if run.ended_at is None}
        for run in running.values():
            run.stop()
        tasks = (run.task for run in running.values() if run.task is not None)
        await asyncio.gather(*tasks, return_exceptions=True)
        if running:
            with suppress(ApiError):
                await self._kept.call(self._kept.responses.renew, list(running), 0.0)

    def _register(self, turn: Turn, answer: Answer) -> Run:
        run = Run(turn.owner.tenant, answer, turn.body.stream)
        self._runs.add(answer.response["id"], run)
        return run

    def _launch(self, run: Run, turn: Turn, generation: Generation, exits: ExitStack) -> None:
        self._runs.tell(run, run.answer.opening())
        run.task = asyncio.create_task(self._make(run, turn, generation, exits))

    async def _make(self, run: Run, turn: Turn, generation: Generation, exits: ExitStack) -> None:
        answer = run.answer
        try:
            with exits:
                while generation.running:
                    for news in await generation.news():
                        if answer.response["status"] == "queued":
                            self._runs.tell(run, answer.begin())
                            await self._advance(answer)
                        self._runs.tell(run, answer.news(news))
                closing = answer.closing(generation.tokens.usage())
                run.is_settled = True
                await self._advance(answer)
                self._runs.tell(run, closing)
                turn.read_ahead(self._read_ahead, generation.choices)
        except ApiError as error:
            await self._fail(run, error)
        except Exception:
            log.exception("unexpected error in the background")
            await self._fail(run, internal_error())
        finally:
            self._runs.end(answer.response["id"], run)

    async def _advance(self, answer: Answer) -> None:
        """Keep what there is now, unless somebody has cancelled or removed it."""
        await self._kept.call(self._kept.responses.advance, answer.response, (*answer.output,))

    async def _fail(self, run: Run, error: ApiError) -> None:
        """Keep that it failed, unless it is only that the server stops."""
        if self._models.closed or error.code == "responses_unavailable":
            return  # it will be made when the lease is over
        self._runs.tell(run, run.answer.failure(error))
        run.answer.output.clear()
        try:
            await self._advance(run.answer)
        except ApiError as refusal:
            if refusal.code == "responses_full":  # not even that: nobody shall try for ever
                remove, ident = self._kept.responses.remove, run.answer.response["id"]
                with suppress(ApiError):
                    await self._kept.call(remove, run.tenant, ident)

    def _revoke_soon(self) -> None:
        self._revoking = asyncio.create_task(self._end_revoked())

    async def _end_revoked(self) -> None:
        """End the responses whose keys were taken back."""
        for _, run in self._runs:
            if run.can_be_stopped and self._keys.caller_of_tenant(run.tenant) is None:
                run.stop()
                await self._fail(run, _revoked())

    async def _take_over(self, most: int) -> None:
        until = time.time() + LEASE_SECONDS
        for _ in range(most):
            # One after another: each may have megabytes of history.
            claimed = await self._kept.call(self._kept.responses.claim, until, 1)
            if not claimed or not await self._begin_again(claimed[0]):
                return

    async def _begin_again(self, found: Unfinished) -> bool:
        """Make what was claimed; False if the others would fare alike now."""
        ident = found.body["id"]
        log.info("response %s is made again: its server has stopped", ident)
        answer = Answer(found.body | {"status": "queued"})
        caller = self._keys.caller_of_tenant(found.tenant)
        try:
            if caller is None:
                raise _revoked()
            await self._resume(found, answer, caller)
        except ApiError as error:
            if error.code not in _PASSES:
                await self._fail(Run(found.tenant, answer, False), error)
                return True
            # A key that has enough running must not hold up those of others.
            is_of_key = caller is not None and bool(caller.name)
            again_at = time.time() + TICK_SECONDS if is_of_key else 0.0
            await self._kept.call(self._kept.responses.renew, [ident], again_at)
            return is_of_key
        except Exception:
            log.exception("response %s cannot be made again", ident)
            await self._fail(Run(found.tenant, answer, False), internal_error())
        return True

    async def _resume(self, found: Unfinished, answer: Answer, caller: Caller) -> None:
        body = ResponseRequest.model_validate_json(found.request["body"])
        owner = Owner(found.tenant, caller.priority)
        settings = settings_of(caller, self._settings)
        call = Call(metrics=self._metrics, logs_prompts=self._settings.logging.prompts)
        call.admission, call.caller = self._admission, caller
        scope: Scope = {"state": state_with(call)}
        with ExitStack() as exits:
            route = enter_lease(exits, self._models, body.model)
            items = list(found.input_items)
            turn = await plan_turn(
                body, owner, route, settings, found.context, items, self._states, self._checker
            )
            answer.text, answer.tools = TextLogprobs(turn.logprob_tokenizer), turn.tools
            generation = Generation(route, turn.plan, scope, _nobody_leaves)
            exits.enter_context(generation)
            self._launch(self._register(turn, answer), turn, generation, exits.pop_all())


def _revoked() -> ApiError:
    return ApiError("invalid_api_key", "The API key of this response is not known any more")


async def _nobody_leaves() -> Message:
    await asyncio.get_running_loop().create_future()
    raise AssertionError
