"""One turn: a request for a response with all that it goes on from, ready to be generated."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from server.api.bodies.threads import off_loop
from server.api.call import Owner
from server.api.choices import GeneratedChoice
from server.api.conversation import Conversation, conversation_of
from server.api.conversations import Conversations
from server.api.errors import ApiError
from server.api.generation import Generation
from server.api.plan import Plan, plan_chat
from server.api.read_ahead import ReadAhead
from server.api.responses.answer import Answer
from server.api.responses.chat_request import as_chat, in_our_words
from server.api.responses.compaction import Resumption, resumption
from server.api.responses.connection_memory import ConnectionMemory, encoded, items_of
from server.api.responses.items import as_kept, as_messages, check_attachments, references
from server.api.responses.other_items import check_outputs
from server.api.responses.tools import OfferedTools, as_shown, offered
from server.api.schemas.chat import ChatCompletionRequest
from server.api.schemas.response_object import ConversationReference, ResponseObject
from server.api.schemas.responses import ResponseRequest, TextConfig
from server.api.states import States
from server.config import Settings
from server.grammars.checker import GrammarChecker
from server.registry.manager import Route
from server.sampling.params import READS_ONLY, SamplingParams
from server.stores.responses.records import Context, Item, NewResponse
from server.tokenizer.base import Tokenizer

_ECHOED = (
    *("background", "instructions", "max_output_tokens", "max_tool_calls", "metadata"),
    *("parallel_tool_calls", "previous_response_id", "prompt_cache_retention"),
    *("safety_identifier", "tool_choice", "top_logprobs", "truncation", "user"),
)
"""Fields of a request that its response repeats."""
ITEM_BYTES = 128
"""Of an item, at the least: a few hundred of them are worth a thread."""


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
    tools: OfferedTools
    connection: ConnectionMemory | None = None
    """Where it is kept if it is not stored, for as long as the connection lives."""

    @property
    def is_kept(self) -> bool:
        """Whether anything of it is to be kept: the response, or the items of its conversation."""
        in_store = bool(self.body.store) or self.context.history_end is not None
        return in_store or self.connection is not None

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
            tools=as_shown(body.tools),
            **_sampling(params),
            **{name: getattr(body, name) for name in _ECHOED},
        ).model_dump()

    def new_answer(self) -> Answer:
        """The same, to be made."""
        return Answer(self.new_response(), self.logprob_tokenizer, self.tools)

    @property
    def logprob_tokenizer(self) -> Tokenizer | None:
        """For the texts of tokens, if log-probabilities are asked for."""
        return self.route.served.tokenizer if self.body.wants_logprobs else None

    def only_read(self) -> Plan:
        """The plan without an answer."""
        tasks = [msgspec.structs.replace(task, params=READS_ONLY) for task in self.plan.choices]
        return replace(self.plan, choices=tasks)

    def read_ahead(self, reader: ReadAhead, choices: Sequence[GeneratedChoice]) -> None:
        """Read the answer as the next turn will have it."""
        reader.start(self.route, self.plan, self.chat, choices)


_DELETED = {
    "conversation_not_found": "conversation",
    "response_not_found": "previous_response_id",
}
"""What a response goes on from, by the error of it not being there when the response is kept."""


class TurnKeeper:
    """Keeps the response of a turn, when it has been generated."""

    def __init__(self, kept: Conversations, turn: Turn, answer: Answer) -> None:
        self._kept = kept
        self._turn = turn
        self._answer = answer

    async def save(self, generation: Generation) -> str:
        """See Keeper. Raises ApiError, also if what it goes on from was deleted meanwhile."""
        self._answer.complete(generation.tokens.usage())
        try:
            await self._keep()
        except ApiError as error:
            if error.code not in _DELETED:
                raise
            param = _DELETED[error.code]
            message = f"{param}: was deleted while the response was made, which is not kept either"
            raise ApiError(error.code, message, param) from None
        return ""

    async def _keep(self) -> None:
        turn, answer = self._turn, self._answer
        tenant, kept, conversation = turn.owner.tenant, self._kept, turn.body.conversation
        if turn.body.store:
            new = NewResponse(answer.response, turn.input_items, answer.output)
            await kept.call(kept.responses.add, tenant, turn.context, new)
        elif conversation is not None:
            added = [*turn.input_items, *answer.output]
            await kept.call(kept.conversations.add_items, tenant, conversation, added)
        if turn.connection is not None and not turn.body.store:
            said = [*turn.context.items, *turn.input_items, *answer.output]
            data = await off_loop(ITEM_BYTES * len(said), encoded, said)
            turn.connection.keep(tenant, answer.response["id"], data)


async def prepare(
    body: ResponseRequest,
    owner: Owner,
    route: Route,
    settings: Settings,
    kept: Conversations,
    states: States,
    checker: GrammarChecker,
    connection: ConnectionMemory | None = None,
) -> Turn:
    """Find what a request goes on from, and plan it. Raises ApiError."""
    check_attachments(body.input, "input")
    if body.store is None:
        body = body.model_copy(update={"store": kept.available})
    if body.store or body.background:
        await kept.call(kept.responses.check)
    tenant = owner.tenant
    local = connection and connection.take(tenant, body.previous_response_id)
    context = Context()
    if not local:
        context = await kept.context(tenant, body.previous_response_id, body.conversation)
    known = await kept.find_items(tenant, references(body.input))
    items = await off_loop(ITEM_BYTES * len(body.input), as_kept, body.input, known)
    if body.previous_response_id is not None:
        said = await off_loop(len(local), items_of, local) if local else context.items
        check_outputs(said, items)
        # What is not in the store comes anew, as if the client had sent it again.
        items = [*said, *items] if local else items
    turn = await plan_turn(body, owner, route, settings, context, items, states, checker)
    return replace(turn, connection=connection)


async def plan_turn(
    body: ResponseRequest,
    owner: Owner,
    route: Route,
    settings: Settings,
    context: Context,
    input_items: list[Item],
    states: States,
    checker: GrammarChecker,
) -> Turn:
    """Plan what goes on from a context with some items. Raises ApiError."""
    said = [*context.items, *input_items]
    size = ITEM_BYTES * len(said)
    tools = tools_of(body.tools, said)
    resumed = resumption(context.items, input_items, body.instructions, tools, route)
    chat = await off_loop(size, _chat_of, body, said, tools, resumed)
    try:
        conversation = await off_loop(size, conversation_of, chat, route.served)
        conversation = replace(conversation, further_names=tools.found_names)
        plan = await plan_chat(chat, conversation, route.served, settings, owner, checker)
    except ApiError as error:
        raise error.renamed(lambda name: in_our_words(name, tools)) from None
    if resumed is not None:
        plan = plan.after(await resumed.state(states, owner.tenant, route))
    plan = replace(plan, operation="responses")
    return Turn(body, owner, route, context, input_items, conversation, plan, tools)


def tools_of(tools: list[Any], items: list[Item]) -> OfferedTools:
    """What the model is offered, also by items. Raises ApiError."""
    found = offered(tools, _brought(items, "additional_tools"))
    for more in _brought(items, "tool_search_output"):
        found.know(more)
    return found


def _brought(items: list[Item], kind: str) -> list[list[Any]]:
    """The tools that items of a type bring along."""
    found = (item.get("tools") for item in items if item["type"] == kind)
    return [tools for tools in found if isinstance(tools, list)]


def _chat_of(
    body: ResponseRequest, items: list[Item], tools: OfferedTools, resumed: Resumption | None
) -> ChatCompletionRequest:
    instructions = body.instructions
    if resumed is not None:
        items, instructions = resumed.items, resumed.shown_instructions
    messages = as_messages(instructions, items)
    if not messages:
        message = "input is empty, and there is nothing to go on from"
        raise ApiError("missing_required_parameter", message, "input")
    return as_chat(body, messages, tools, resumed.state_id if resumed else "")


def _shown(text: TextConfig) -> dict[str, Any]:
    wanted: dict[str, Any] = {"type": text.format.type}
    if text.format.type == "json_schema":
        wanted = text.format.model_dump(by_alias=True)
    shown: dict[str, Any] = {"format": wanted}
    return shown if text.verbosity is None else shown | {"verbosity": text.verbosity}


def _sampling(params: SamplingParams) -> dict[str, float]:
    names = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
    return {name: getattr(params, name) for name in names}
