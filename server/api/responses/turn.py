"""One turn: a request for a response with all that it goes on from, ready to be generated."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from server.api.choices import GeneratedChoice
from server.api.conversation import Conversation, conversation_of
from server.api.conversations import Conversations
from server.api.errors import ApiError
from server.api.generation import Generation
from server.api.plan import Plan, plan_chat
from server.api.read_ahead import ReadAhead
from server.api.responses.answer import Answer
from server.api.responses.chat_request import as_chat, in_our_words
from server.api.responses.items import as_kept, as_messages, references
from server.api.schemas.response_object import ConversationReference, ResponseObject
from server.api.schemas.responses import ResponseRequest, TextConfig
from server.api.tenant import Owner
from server.config import Settings
from server.conversations.records import Context, Item, NewResponse
from server.grammars.checker import GrammarChecker
from server.registry.manager import Route
from server.sampling.params import SamplingParams
from server.tokenizer.base import Tokenizer

_ECHOED = (
    *("background", "instructions", "max_output_tokens", "max_tool_calls", "metadata"),
    *("parallel_tool_calls", "previous_response_id", "prompt_cache_retention"),
    *("safety_identifier", "tool_choice", "tools", "top_logprobs", "truncation", "user"),
)
"""Fields of a request that its response repeats."""


@dataclass(frozen=True)
class Turn:
    """What is to be generated, and what it is generated from."""

    body: ResponseRequest
    owner: Owner
    route: Route
    context: Context
    input_items: list[Item]
    chat: Conversation
    plan: Plan

    @property
    def is_kept(self) -> bool:
        """Whether anything of it is to be kept: the response, or the items of its conversation."""
        return bool(self.body.store) or self.context.history_end is not None

    def new_response(self) -> dict[str, Any]:
        """The response as it begins."""
        body, params = self.body, self.plan.choices[0].params
        conversation = body.conversation and ConversationReference(id=body.conversation)
        options = body.prompt_cache_options
        return ResponseObject(
            id=f"resp_{secrets.token_hex(24)}",
            created_at=int(time.time()),
            status="queued" if body.background else "in_progress",
            model=self.route.id,
            conversation=conversation or None,
            prompt_cache_key=body.prompt_cache_key or None,
            prompt_cache_options=options.model_dump(),
            reasoning=body.reasoning.model_dump(),
            store=bool(body.store),
            text=_shown(body.text),
            **_sampling(params),
            **{name: getattr(body, name) for name in _ECHOED},
        ).model_dump()

    @property
    def logprob_tokenizer(self) -> Tokenizer | None:
        """For the texts of tokens, if log-probabilities are asked for."""
        return self.route.served.tokenizer if self.body.wants_logprobs else None

    def read_ahead(self, reader: ReadAhead, choices: Sequence[GeneratedChoice]) -> None:
        """Read the answer as the next turn will have it."""
        reader.start(self.route, self.plan, self.chat, choices)


class TurnKeeper:
    """Keeps the response of a turn, when it has been generated."""

    def __init__(self, kept: Conversations, turn: Turn, answer: Answer) -> None:
        self._kept = kept
        self._turn = turn
        self._answer = answer

    async def save(self, generation: Generation) -> str:
        """See Keeper. Raises ApiError."""
        turn, answer = self._turn, self._answer
        answer.complete(generation.tokens.usage())
        tenant, kept, conversation = turn.owner.tenant, self._kept, turn.body.conversation
        if turn.body.store:
            new = NewResponse(answer.response, turn.input_items, answer.output)
            await kept.call(kept.responses.add, tenant, turn.context, new)
        elif conversation is not None:
            added = [*turn.input_items, *answer.output]
            await kept.call(kept.conversations.add_items, tenant, conversation, added)
        return ""


async def prepare(
    body: ResponseRequest,
    owner: Owner,
    route: Route,
    settings: Settings,
    kept: Conversations,
    checker: GrammarChecker,
) -> Turn:
    """Find what a request goes on from, and plan it. Raises ApiError."""
    if body.store is None:
        body = body.model_copy(update={"store": kept.available})
    if body.store or body.background:
        await kept.call(kept.responses.check)
    tenant = owner.tenant
    context = await kept.context(tenant, body.previous_response_id, body.conversation)
    known = await kept.find_items(tenant, references(body.input))
    items = as_kept(body.input, known)
    return await plan_turn(body, owner, route, settings, context, items, checker)


async def plan_turn(
    body: ResponseRequest,
    owner: Owner,
    route: Route,
    settings: Settings,
    context: Context,
    input_items: list[Item],
    checker: GrammarChecker,
) -> Turn:
    """Plan what goes on from a context with some items. Raises ApiError."""
    messages = as_messages(body.instructions, [*context.items, *input_items])
    if not messages:
        message = "input is empty, and there is nothing to go on from"
        raise ApiError("missing_required_parameter", message, "input")
    chat = as_chat(body, messages)
    try:
        conversation = conversation_of(chat, route.served)
        plan = await plan_chat(chat, conversation, route.served, settings, owner, checker)
    except ApiError as error:
        raise error.renamed(in_our_words) from None
    plan = replace(plan, operation="responses")
    return Turn(body, owner, route, context, input_items, conversation, plan)


def _shown(text: TextConfig) -> dict[str, Any]:
    wanted: dict[str, Any] = {"type": text.format.type}
    if text.format.type == "json_schema":
        wanted = text.format.model_dump(by_alias=True)
    return {"format": wanted, "verbosity": text.verbosity}


def _sampling(params: SamplingParams) -> dict[str, float]:
    names = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
    return {name: getattr(params, name) for name in names}
