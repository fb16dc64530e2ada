"""The state after a prompt and its answer, kept as a named state: `save_state`."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import msgspec

from server.api.choices import GeneratedChoice
from server.api.conversation import Conversation
from server.api.generation import Generation
from server.api.plan import Plan
from server.api.schemas.states import StateOptions
from server.api.states import StateContent, States
from server.registry.manager import Route
from server.sampling.params import READS_ONLY
from server.tokenizer.base import Tokenizer, TokenizerError
from server.tokenizer.prompt_parts import encode_prompt, prompt_parts


class Ending(Protocol):
    """What an endpoint says of the text that follows the prompt in the state to be saved."""

    def text_after(self, answer: GeneratedChoice) -> str | None:
        """The text; None when the state is to have the very tokens that were generated."""


class CompletionEnding:
    """The text that was returned. An answer that max_tokens cut goes on as if it had not been."""

    def text_after(self, answer: GeneratedChoice) -> str | None:
        """See Ending."""
        return None if answer.finish_reason == "length" else answer.text


class ChatEnding:
    """The assistant's message as the template writes it, to its end, for the next turn to follow.

    Where the template would write the prompt anew with the answer in it, the text that was
    returned.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    def text_after(self, answer: GeneratedChoice) -> str | None:
        """See Ending."""
        conversation = self._conversation
        messages = conversation.followed_by(answer.answer.as_message())
        try:
            prompt = conversation.prompt()
            text = conversation.template.render(messages, add_generation_prompt=False)
        except TokenizerError:
            return answer.text
        return text.removeprefix(prompt) if text.startswith(prompt) else answer.text


class Saving:
    """Saves the state of one generation with one choice."""

    def __init__(
        self, states: States, tenant: str, route: Route, plan: Plan, ending: Ending
    ) -> None:
        self._states = states
        self._tenant = tenant
        self._route = route
        self._plan = plan
        self._ending = ending

    async def save(self, generation: Generation) -> str:
        """The id of the new state, when the choice has finished. Raises ApiError."""
        (task,), (answer,) = self._plan.choices, generation.choices
        ids = task.prompt_ids + await asyncio.to_thread(self._ids_after, answer)
        reading = msgspec.structs.replace(task, prompt_ids=ids, params=READS_ONLY, keeps_state=True)
        payload = await generation.state_after(reading)
        content = StateContent.of(self._route, self._plan.base_tokens + len(ids), payload)
        return (await self._states.add(self._tenant, content, StateOptions())).id

    def _ids_after(self, answer: GeneratedChoice) -> list[int]:
        text = self._ending.text_after(answer)
        if text is None:
            return answer.token_ids
        return ids_of_text(text, answer.token_ids, self._route.served.tokenizer)


async def open_saving(
    states: States, tenant: str, route: Route, plan: Plan, ending: Ending
) -> Saving:
    """Raises ApiError when there is no room, before anything is computed."""
    await states.check_room(tenant, route)
    return Saving(states, tenant, route, plan, ending)


def ids_of_text(text: str, generated: Sequence[int], tokenizer: Tokenizer) -> list[int]:
    """The text's ids: those that were generated as far as they agree with it, then encoded ones.

    What is generated agrees with no special token that the text's template writes.
    """
    names = (part.start for part in prompt_parts(text, tokenizer) if part.token_id is not None)
    wanted = text[: next(names, len(text))].encode()
    position = agreed = end = 0
    for number, token in enumerate(generated, 1):
        piece = tokenizer.token_bytes(token)
        if position == len(wanted) or not wanted.startswith(piece, position):
            break
        position += len(piece)
        if piece and _is_whole(wanted, position):  # special tokens only amid text
            agreed, end = number, position
    rest = text[len(wanted[:end].decode()) :]
    return [*generated[:agreed], *encode_prompt(rest, tokenizer).ids]


def _is_whole(text: bytes, end: int) -> bool:
    """Whether no character is cut there."""
    return end == len(text) or text[end] & 0xC0 != 0x80
