"""After an answer: reads it as the next turn will have it, so that only what is new is left then.

A client sends an answer back as text, and encoding that need not give the ids that were generated;
templates drop blanks and thoughts, and a stop string is no part of it. The state that the answer
left is then of no use to the next turn. A snapshot after the ids that it will really have is, and
like any other it changes no byte of what is generated.
"""

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from server.api.boundaries import content_end, tokens_until
from server.api.choices import GeneratedChoice
from server.api.conversation import Conversation, Message
from server.api.plan import Plan
from server.api.tenant import LAST_PRIORITY
from server.config import CacheSettings
from server.pool.client import EngineClient
from server.protocol.task import Task
from server.registry.manager import Route
from server.sampling.params import READS_ONLY
from server.tokenizer.base import Tokenizer, TokenizerError
from server.tokenizer.prompt_parts import encode_prompt

logger = logging.getLogger(__name__)

AT_ONCE = 2
"""Answers of one model that are read at once; what comes meanwhile is not."""
ENOUGH = 32
"""Tokens that the next turn may as well read itself."""
MOST_TOKENS = 16_384
"""If there is more to read, that is left to the next turn, which may not come."""

_IDS_AT_ONCE = 4096

_USER: Message = {"role": "user", "content": "And then?"}


class ReadAhead:
    """Starts such tasks when answers have been sent, and knows those that run."""

    def __init__(self, settings: CacheSettings) -> None:
        self._enabled = settings.read_ahead and settings.memory_bytes != 0
        self._tasks: dict[asyncio.Task[None], EngineClient] = {}

    @property
    def running(self) -> int:
        """How many answers are being read."""
        return len(self._tasks)

    def start(
        self,
        route: Route,
        plan: Plan,
        conversation: Conversation,
        choices: Sequence[GeneratedChoice],
    ) -> None:
        """Go on in the background, if the answers of this plan are to be read. Never fails."""
        first = plan.choices[0]
        use = first.use
        is_last = first.priority >= LAST_PRIORITY  # as of a batch, which has no next turn
        keeps = use.reads and use.writes and use.implicit
        at_once = sum(client is route.client for client in self._tasks.values())
        if not self._enabled or not keeps or is_last or len(choices) > 1 or at_once >= AT_ONCE:
            return
        work = _read(route, first, conversation, choices[0])
        task = asyncio.create_task(work)
        self._tasks[task] = route.client
        task.add_done_callback(self._tasks.pop)


async def _read(
    route: Route,
    task: Task,
    conversation: Conversation,
    answer: GeneratedChoice,
) -> None:
    with route.lease():
        try:
            ids = await asyncio.to_thread(
                unread, conversation, route.served.tokenizer, task, answer
            )
            if not ids:
                return
            stream = route.submit_background(_reading(task, ids))
            if stream is None:
                return
            try:
                await stream.get()  # the first output is the last one
            finally:
                stream.abort()
        except TokenizerError as error:  # the template wants something else to follow
            logger.debug("not reading ahead: %s", error)
        except Exception:
            logger.exception("unexpected error while reading ahead")


def unread(
    conversation: Conversation, tokenizer: Tokenizer, task: Task, answer: GeneratedChoice
) -> list[int]:
    """The ids of the conversation up to the end of the answer, as the next turn will have them.

    None of them if their state is known, or if there is too much to read. Raises TokenizerError.
    """
    template = conversation.template
    message = conversation.as_returned(answer.answer.as_message())
    said = conversation.followed_by(message)
    # Where the answer ends, or where the first result of its calls begins.
    last, length = len(said) - 1, len(said[-1]["content"])
    if "tool_calls" in message:
        last, length = last + 1, 0
    said += _what_follows(message)
    text = template.render(said)
    prompt = encode_prompt(text, tokenizer)
    ids = prompt.ids
    end = content_end(said, last, length, text, template)
    (count,) = tokens_until([end], text, ids, tokenizer, prompt.spans)
    taken_in = task.prompt_ids + answer.token_ids[:-1]  # the last one was only sampled
    shared = _shared(taken_in, ids)
    leads_on = shared == len(taken_in) and shared >= count - ENOUGH
    if leads_on or count - shared > MOST_TOKENS:
        return []
    return ids[:count]


def _what_follows(message: Message) -> list[Message]:
    """Something in the place of what comes next: results of the calls, or a word of the user."""
    calls = message.get("tool_calls", ())
    results = [{"role": "tool", "content": "ok", "tool_call_id": call["id"]} for call in calls]
    return results or [_USER]


def _shared(first: list[int], second: list[int]) -> int:
    """How many ids are the same at the beginning."""
    length = min(len(first), len(second))
    for start in range(0, length, _IDS_AT_ONCE):
        end = min(start + _IDS_AT_ONCE, length)
        if first[start:end] != second[start:end]:
            return next(at for at in range(start, end) if first[at] != second[at])
    return length


def _reading(task: Task, ids: list[int]) -> Task:
    use = msgspec.structs.replace(task.use, boundaries={len(ids): "reply"}, implicit=False)
    return msgspec.structs.replace(
        task, prompt_ids=ids, params=READS_ONLY, use=use, keeps_state=False, background=True
    )
