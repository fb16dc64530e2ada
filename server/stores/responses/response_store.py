"""Responses: kept with their items, gone on from, and shared out among those who make them."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, or_, select, update

from server.stores.responses.reading import (
    find_items,
    from_json,
    history_until,
    read_items,
    read_page,
    to_json,
)
from server.stores.responses.records import (
    UNFINISHED,
    Context,
    Item,
    ItemPage,
    NewResponse,
    Page,
    Unfinished,
    UnknownConversationError,
    UnknownItemError,
    UnknownResponseError,
)
from server.stores.responses.tables import items, responses, threads
from server.stores.responses.threads import Threads, row_size

_UNFINISHED = responses.c.status.in_(UNFINISHED)


class ResponseStore:
    """The responses of all tenants, each of which sees its own alone.

    Every method may be called from any thread, waits for the database, and raises
    StoreUnavailableError besides what it names.
    """

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._database = threads.database

    def check(self) -> None:
        """Raise StoreUnavailableError before a response is made in vain."""
        with self._database.transaction():
            pass

    def add(self, tenant: str, context: Context, new: NewResponse) -> None:
        """Keep a response, finished or not.

        Raises StoreFullError, and UnknownResponseError or UnknownConversationError when what it
        goes on from was removed meanwhile.
        """
        body = to_json(new.body)
        request = to_json(new.request) if new.request else None
        size = row_size(body) + len(request or "")
        with self._database.transaction() as db:
            thread = self._thread(db, tenant, context)
            number = db.execute(
                responses.insert()
                .values(
                    id=new.body["id"],
                    thread=thread,
                    parent=context.parent,
                    history_end=context.history_end,
                    status=new.body["status"],
                    body=body,
                    size=size,
                    hidden=False,
                    request=request,
                    lease_until=new.lease_until,
                )
                .returning(responses.c.number)
            ).scalar_one()
            self._threads.grow(db, thread, size)
            self._threads.add_items(db, thread, new.input_items, number)
            self._threads.add_items(db, thread, new.output_items, number, is_output=True)
            self._list_items(db, number, context.history_end, new.body["status"])
            self._threads.make_room(db, thread)

    def get_unfinished(self, tenant: str, ident: str) -> dict[str, Any] | None:
        """A response as the API shows it, if somebody works on it; None if it is over.

        What is over may take long to decode. Raises UnknownResponseError.
        """
        with self._database.transaction() as db:
            row = self._get(db, tenant, ident)
            return _body(row) if row.status in UNFINISHED else None

    def read(self, tenant: str, ident: str) -> str:
        """Any response as JSON. Raises UnknownResponseError."""
        with self._database.transaction() as db:
            text: str = self._get(db, tenant, ident).body
            return text

    def read_about(self, tenant: str, ident: str) -> tuple[bool, str]:
        """Whether a response was made in the background, and it as JSON."""
        text = self.read(tenant, ident)
        return msgspec.json.decode(text, type=_About).background, text

    def context(self, tenant: str, ident: str) -> tuple[Context, str]:
        """What goes on from a response, and its status.

        Raises UnknownResponseError and TooMuchTextError.
        """
        with self._database.transaction() as db:
            row = self._get(db, tenant, ident)
            most = self._threads.bounds.context_bytes
            found = read_items(db, _items_until(db, row), most)
            return Context(found, row.thread, row.number, None), row.status

    def input_items(self, tenant: str, ident: str, page: Page) -> ItemPage:
        """Part of all that a response was made from.

        Raises UnknownResponseError, and UnknownItemError for the id that the page comes after.
        """
        with self._database.transaction() as db:
            found = read_page(db, _inputs_of(db, self._get(db, tenant, ident)), page)
        if found is None:
            raise UnknownItemError(page.after)
        return found

    def find_items(self, tenant: str, idents: Sequence[str]) -> dict[str, Item]:
        """Items of any response or conversation, by their ids. Raises TooMuchTextError."""
        most = self._threads.bounds.context_bytes
        with self._database.transaction() as db:
            return find_items(db, self._threads.of_tenant(tenant), idents, most)

    def remove(self, tenant: str, ident: str) -> None:
        """Delete a response. Raises UnknownResponseError.

        What others go on from stays until they are removed too, but nobody sees it any more. Items
        that are part of a conversation stay there.
        """
        with self._database.transaction() as db:
            row: Row[Any] | None = self._get(db, tenant, ident)
            assert row is not None
            thread = row.thread
            db.execute(_changed(row.number).values(hidden=True))
            while row is not None and not _has_children(db, row.number):
                db.execute(delete(items).where(items.c.response == row.number, ~items.c.listed))
                db.execute(delete(responses).where(responses.c.number == row.number))
                above = responses.c.number == row.parent
                row = db.execute(select(responses).where(above, responses.c.hidden)).one_or_none()
            left = select(func.count()).select_from(responses).where(responses.c.thread == thread)
            is_conversation = select(threads.c.id).where(threads.c.number == thread)
            if db.execute(left).scalar_one() or db.execute(is_conversation).scalar_one():
                self._threads.recount(db, thread)
            else:
                self._threads.remove(db, thread)
        self._database.forget_deleted()

    def advance(self, body: dict[str, Any], output_items: Iterable[Item] = ()) -> bool:
        """Take over a response's new body and status; False if it is unfinished no more.

        So who makes it and who cancels or removes it need not know of each other. Raises
        StoreFullError.
        """
        text, status = to_json(body), body["status"]
        with self._database.transaction() as db:
            row = db.execute(
                select(responses).where(responses.c.id == body["id"], _UNFINISHED).with_for_update()
            ).one_or_none()
            if row is None:
                return False
            request = row.request if status in UNFINISHED else None
            size = row_size(text) + len(request or "")
            values = {"status": status, "body": text, "size": size, "request": request}
            db.execute(_changed(row.number).values(values))
            self._threads.grow(db, row.thread, size - row.size)
            self._threads.add_items(db, row.thread, output_items, row.number, is_output=True)
            self._list_items(db, row.number, row.history_end, status)
            self._threads.make_room(db, row.thread)
        return True

    def renew(self, idents: Sequence[str], until: float) -> set[str]:
        """Work on responses for longer; gives those that are still unfinished."""
        renewed = (
            update(responses)
            .where(responses.c.id.in_(idents), _UNFINISHED)
            .values(lease_until=until)
            .returning(responses.c.id)
        )
        with self._database.transaction() as db:
            return set(db.execute(renewed).scalars())

    def claim(self, until: float, limit: int) -> list[Unfinished]:
        """Begin to work on unfinished responses that nobody works on any more, the oldest first."""
        free = (
            select(responses, threads.c.tenant)
            .join(threads)
            .where(_UNFINISHED, responses.c.lease_until < self._threads.now())
            .order_by(responses.c.number)
            .limit(limit)
            .with_for_update(of=responses, skip_locked=True)
        )
        with self._database.transaction() as db:
            rows = db.execute(free).all()
            for row in rows:
                db.execute(_changed(row.number).values(lease_until=until))
            return [_unfinished(db, row) for row in rows]

    def sweep(self) -> None:
        """Remove what has expired, which is not seen before, either, and what is too much."""
        is_more = True
        while is_more:
            with self._database.transaction() as db:
                is_more = self._threads.trim(db)
        self._database.forget_deleted()

    def _thread(self, db: Connection, tenant: str, context: Context) -> int:
        if context.thread is None:
            return self._threads.begin(db, tenant)
        found = db.execute(
            select(threads.c.number)
            .where(threads.c.number == context.thread, self._threads.of_tenant(tenant))
            .with_for_update()
        )
        parent = responses.c.number == context.parent
        if found.scalar_one_or_none() is None:
            raise UnknownConversationError if context.parent is None else UnknownResponseError
        if context.parent and not db.execute(select(responses.c.number).where(parent)).all():
            raise UnknownResponseError
        return context.thread

    def _list_items(self, db: Connection, number: int, end: int | None, status: str) -> None:
        """Show the items of a response in its conversation, when it has been answered."""
        if end is not None and status in ("completed", "incomplete"):
            of_response = items.c.response == number
            db.execute(update(items).where(of_response).values(listed=True))

    def _get(self, db: Connection, tenant: str, ident: str) -> Row[Any]:
        row = db.execute(
            select(responses)
            .join(threads)
            .where(self._threads.of_tenant(tenant), responses.c.id == ident, ~responses.c.hidden)
        ).one_or_none()
        if row is None:
            raise UnknownResponseError(ident)
        return row


class _About(msgspec.Struct):
    background: bool


def _body(row: Row[Any]) -> dict[str, Any]:
    body: dict[str, Any] = from_json(row.body)
    return body


def _changed(number: int) -> Any:
    return update(responses).where(responses.c.number == number)


def _has_children(db: Connection, number: int) -> bool:
    children = select(responses.c.number).where(responses.c.parent == number).limit(1)
    return db.execute(children).first() is not None


def _items_until(db: Connection, row: Row[Any]) -> ColumnElement[bool]:
    """The condition of all items that a response read, and its own."""
    line = select(responses.c.number, responses.c.parent, responses.c.history_end)
    own = line.where(responses.c.number == row.number).cte("line", recursive=True)
    above = line.join(own, responses.c.number == own.c.parent)
    query = own.union_all(above)
    ends = db.execute(select(query.c.history_end).where(query.c.history_end.is_not(None)))
    history = history_until(ends.scalar_one_or_none())
    said = items.c.response.in_(select(query.c.number))
    return and_(items.c.thread == row.thread, or_(said, history))


def _inputs_of(db: Connection, row: Row[Any]) -> ColumnElement[bool]:
    own_outputs = and_(items.c.response == row.number, items.c.is_output)
    # `response` is null of items that no response has brought.
    return and_(_items_until(db, row), or_(items.c.response.is_(None), ~own_outputs))


def _unfinished(db: Connection, row: Row[Any]) -> Unfinished:
    own = items.c.response == row.number
    is_history = or_(items.c.response.is_(None), ~own)
    history = read_items(db, and_(_items_until(db, row), is_history))
    context = Context(history, row.thread, row.parent, row.history_end)
    request = from_json(row.request)
    return Unfinished(row.tenant, _body(row), request, context, read_items(db, own))
