"""What is kept of responses and conversations, and what can go wrong with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from server.json_pieces import JsonDocument, JsonList

Item = dict[str, Any]
"""A message, a call of a tool, its output or a thought: JSON as the API shows it, with an `id`."""

UNFINISHED = ("queued", "in_progress")
"""The statuses of responses that somebody works on."""


class UnknownResponseError(Exception):
    """This tenant has no response of this id, or has it no more."""


class UnknownConversationError(Exception):
    """The same of a conversation."""


class UnknownItemError(Exception):
    """The same of an item."""


class StoreFullError(Exception):
    """One conversation or client would exceed all that may be kept: one line."""


class TooMuchTextError(Exception):
    """A request would read more stored text than it may: one line."""


class StoreUnavailableError(Exception):
    """The database cannot be opened, read or written: one line."""


class StoreDamagedError(StoreUnavailableError):
    """The database is damaged, or not of this version: one line that says what to do."""


@dataclass(frozen=True)
class Context:
    """What a response goes on from: of a conversation, of another response, or of nothing."""

    items: tuple[Item, ...] = ()
    """All that was said before, in order."""
    thread: int | None = None
    """What it belongs to; None: to a thread of its own."""
    parent: int | None = None
    """The number of the response that it follows."""
    history_end: int | None = None
    """The number of the last item of the conversation, if it is part of one."""


@dataclass(frozen=True)
class NewResponse:
    """A response before it is kept."""

    body: dict[str, Any]
    """As the API shows it, with its `id` and `status`."""
    input_items: Sequence[Item]
    output_items: Sequence[Item] = ()
    request: dict[str, Any] | None = None
    """What makes it again, while it is unfinished."""
    lease_until: float = 0.0
    """Until then somebody works on it; in seconds since 1970."""


@dataclass(frozen=True)
class Unfinished:
    """A response that nobody works on any more."""

    tenant: str
    body: dict[str, Any]
    request: dict[str, Any]
    context: Context
    input_items: tuple[Item, ...]


@dataclass(frozen=True)
class Conversation:
    """A list of items that responses read and add to."""

    id: str
    created: float
    metadata: dict[str, str]


@dataclass(frozen=True)
class Page:
    """Which part of a list: at most `limit` items that come after the one with the id `after`."""

    limit: int
    after: str = ""
    newest_first: bool = True


@dataclass(frozen=True)
class ItemPage:
    """Part of a list of items, as JSON: nobody decodes what is only passed on."""

    idents: Sequence[str]
    bodies: Sequence[str]
    has_more: bool

    @property
    def items(self) -> list[Item]:
        """The items themselves."""
        return [msgspec.json.decode(body) for body in self.bodies]

    def shown(self) -> dict[str, Any]:
        """As the API shows it. Megabytes: not for the event loop."""
        first, last = (self.idents[0], self.idents[-1]) if self.idents else ("", "")
        data = JsonList()
        for body in self.bodies:
            data.append(JsonDocument(body).pieces)
        return {
            "object": "list",
            "data": data,
            "first_id": first,
            "last_id": last,
            "has_more": self.has_more,
        }
