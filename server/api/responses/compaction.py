"""Compactions: an item in the place of a conversation, which stands for a named state.

A state that has read a conversation is as long as any other, so nothing has to be summed up, and
nothing is lost. What the item says is the id of the state, which only its owner can use, and what
the state has read besides the items.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from server.api.errors import ApiError
from server.api.responses.items import new_id
from server.api.responses.tools import OfferedTools
from server.api.states import StateContent, States
from server.registry.manager import Route
from server.stores.responses.records import Item
from server.tokenizer.tool_messages import tools_text
from server.tokenizer.tool_text import TextForm

_MARK = "rwkv1."
_LONGEST = 1024
_DIGEST_BYTES = 12


class _Content(msgspec.Struct, array_like=True):
    """What the item has in it."""

    state_id: str
    instructions: str
    tools: str


@dataclass(frozen=True)
class Resumption:
    """The items of a turn that come after a compaction, and what it says of those before."""

    items: list[Item]
    place: str
    """Of the item in the request, for errors."""
    content: _Content
    shown_instructions: str
    """What the state has not read of the instructions and tools."""
    shows_tools: bool
    """Whether they have tools."""

    @property
    def state_id(self) -> str:
        """The state that the items go on from."""
        return self.content.state_id

    async def state(self, states: States, tenant: str, route: Route) -> StateContent:
        """The state itself. Raises ApiError that names the item."""
        if self.shows_tools and _form_of(route) is None:
            message = (
                "tools: this model cannot be shown tools after a compaction; compact with the "
                "tools of the turns to come"
            )
            raise ApiError("invalid_value", message, "tools")
        try:
            return await states.read_for(tenant, self.state_id, route)
        except ApiError as error:
            reason = error.detail
            if error.code == "state_not_found":
                reason = "its state has expired, was deleted, or is another client's"
            message = f"{self.place}: cannot go on from this compaction ({reason}); "
            message += "send the items that it stands for instead"
            raise ApiError(error.code, message, self.place) from None


def compaction_item(state_id: str, instructions: str | None, tools: OfferedTools) -> dict[str, Any]:
    """The item that stands for a state."""
    content = _Content(state_id, _digest(instructions), _digest(tools.functions))
    text = base64.urlsafe_b64encode(msgspec.json.encode(content)).decode()
    return {"id": new_id("compaction"), "type": "compaction", "encrypted_content": _MARK + text}


def resumption(
    before: Sequence[Item],
    added: Sequence[Item],
    instructions: str | None,
    tools: OfferedTools,
    route: Route,
) -> Resumption | None:
    """What to go on from, if there is a compaction of this server's: all before it has been read.

    Raises ApiError for one that is damaged.
    """
    said, form = [*before, *added], _form_of(route)
    for number in range(len(said) - 1, -1, -1):
        text = said[number].get("encrypted_content")
        if said[number]["type"] != "compaction" or not isinstance(text, str):
            continue
        if text.startswith(_MARK):
            at = number - len(before)
            place = f"input.{at}" if at >= 0 else "previous_response_id"
            content = _decoded(text, place)
            unread = [] if _digest(tools.functions) == content.tools else tools.functions
            known = _digest(instructions) == content.instructions
            said_first = [
                *([] if known or not instructions else [instructions]),
                *([tools_text(unread, form)] if unread and form else []),
            ]
            shown = "\n".join(said_first)
            return Resumption(said[number + 1 :], place, content, shown, bool(unread))
    return None


def _form_of(route: Route) -> TextForm | None:
    """How tools become text where a template would show them at the beginning only."""
    syntax = route.served.chat_template.call_syntax
    return syntax if syntax == "g1" or syntax == "hermes" else None


def _decoded(text: str, place: str) -> _Content:
    try:
        if len(text) > _LONGEST:
            raise ValueError
        data = base64.urlsafe_b64decode(text.removeprefix(_MARK))
        return msgspec.json.decode(data, type=_Content)
    except ValueError:  # also msgspec's errors
        message = f"{place}: encrypted_content is damaged; send it as it came"
        raise ApiError("invalid_value", message, place) from None


def _digest(value: Any) -> str:
    """Of what a state has read; the same for nothing and none."""
    data = msgspec.json.encode(value or None)
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).hexdigest()
