"""Conversations: lists of items that clients and responses add to."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, func, select, update

from server.stores.responses.reading import from_json, read_items, read_page, to_json
from server.stores.responses.records import (
    UNFINISHED,
    Context,
    Conversation,
    Item,
    ItemPage,
    Page,
    UnknownConversationError,
    UnknownItemError,
)
from server.stores.responses.tables import items, responses, threads
from server.stores.responses.threads import Threads


class ConversationStore:
    """The conversations of all tenants, each of which sees its own alone.

    Every method may be called from any thread, waits for the database, and raises
    UnknownConversationError and StoreUnavailableError; what adds something raises StoreFullError.
    """

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._database = threads.database

    def add(self, tenant: str, metadata: Mapping[str, str], first: Sequence[Item]) -> Conversation:
        """A new conversation that begins with some items."""
        ident = f"conv_{secrets.token_hex(24)}"
        with self._database.transaction() as db:
            number = self._threads.begin(db, tenant, ident, to_json(metadata))
            self._threads.add_items(db, number, first, listed=True)
            self._threads.make_room(db, number)
            return _conversation(self._get(db, tenant, ident))

    def get(self, tenant: str, ident: str) -> Conversation:
        """What is known of a conversation besides its items."""
        with self._database.transaction() as db:
            return _conversation(self._get(db, tenant, ident))

    def update(self, tenant: str, ident: str, metadata: Mapping[str, str]) -> Conversation:
        """Replace the metadata."""
        with self._database.transaction() as db:
            number = self._get(db, tenant, ident).number
            changed = update(threads).where(threads.c.number == number)
            db.execute(changed.values(metadata=to_json(metadata)))
            self._threads.recount(db, number)
            self._threads.grow(db, number, 0)
            self._threads.make_room(db, number)
            return _conversation(self._get(db, tenant, ident))

    def remove(self, tenant: str, ident: str) -> list[str]:
        """Delete a conversation with its items, and the responses that belong to it.

        Gives the ids of those that were unfinished: nobody needs them any more.
        """
        with self._database.transaction() as db:
            number = self._get(db, tenant, ident).number
            unfinished = list(
                db.execute(
                    select(responses.c.id).where(
                        responses.c.thread == number, responses.c.status.in_(UNFINISHED)
                    )
                ).scalars()
            )
            self._threads.remove(db, number)
        self._database.forget_deleted()
        return unfinished

    def context(self, tenant: str, ident: str) -> Context:
        """What the next response goes on from. Raises TooMuchTextError."""
        with self._database.transaction() as db:
            number = self._get(db, tenant, ident).number
            listed = and_(items.c.thread == number, items.c.listed)
            end = db.execute(select(func.max(items.c.number)).where(listed)).scalar_one()
            found = read_items(db, listed, self._threads.bounds.context_bytes)
            return Context(found, number, None, end or 0)

    def add_items(self, tenant: str, ident: str, added: Sequence[Item]) -> ItemPage:
        """Append items; gives them as a page."""
        with self._database.transaction() as db:
            number = self._get(db, tenant, ident).number
            self._threads.add_items(db, number, added, listed=True)
            self._threads.make_room(db, number)
        idents, bodies = [item["id"] for item in added], [to_json(item) for item in added]
        return ItemPage(idents, bodies, has_more=False)

    def items(self, tenant: str, ident: str, page: Page) -> ItemPage:
        """A page of the items.

        Raises UnknownItemError for the id that the page comes after.
        """
        with self._database.transaction() as db:
            number = self._get(db, tenant, ident).number
            found = read_page(db, and_(items.c.thread == number, items.c.listed), page)
        if found is None:
            raise UnknownItemError(page.after)
        return found

    def item(self, tenant: str, ident: str, item: str) -> str:
        """One item as JSON. Raises UnknownItemError."""
        with self._database.transaction() as db:
            body: str = self._item(db, tenant, ident, item).body
            return body

    def remove_item(self, tenant: str, ident: str, item: str) -> Conversation:
        """Delete an item; gives its conversation. Raises UnknownItemError."""
        with self._database.transaction() as db:
            row = self._item(db, tenant, ident, item)
            db.execute(delete(items).where(items.c.number == row.number))
            self._threads.recount(db, row.thread)
            conversation = _conversation(self._get(db, tenant, ident))
        self._database.forget_deleted()
        return conversation

    def _get(self, db: Connection, tenant: str, ident: str) -> Row[Any]:
        row = db.execute(
            select(threads)
            .where(self._threads.of_tenant(tenant), threads.c.id == ident)
            .with_for_update()
        ).one_or_none()
        if row is None:
            raise UnknownConversationError(ident)
        return row

    def _item(self, db: Connection, tenant: str, ident: str, item: str) -> Row[Any]:
        number = self._get(db, tenant, ident).number
        row = db.execute(
            select(items).where(items.c.thread == number, items.c.listed, items.c.id == item)
        ).one_or_none()
        if row is None:
            raise UnknownItemError(item)
        return row


def _conversation(row: Row[Any]) -> Conversation:
    return Conversation(row.id, row.created, from_json(row.metadata))
