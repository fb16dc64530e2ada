"""Threads and their items: whose they are, how much room they take, and when they go."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, case, delete, func, select, update

from server.conversations.database import Database
from server.conversations.records import Item, Page, StoreFullError
from server.conversations.tables import items, responses, threads

ROW_BYTES = 512
"""What a row counts besides its text, so that many small ones are bounded as well."""

_encode = msgspec.json.Encoder().encode


def to_json(value: Any) -> str:
    """As a row has it."""
    return _encode(value).decode()


def row_size(body: str) -> int:
    """What a row with this text counts."""
    return len(body.encode()) + ROW_BYTES


def from_json(text: str) -> Any:
    """The inverse of to_json()."""
    return msgspec.json.decode(text)


@dataclass(frozen=True)
class Bounds:
    """How much is kept, and for how long."""

    limit: int
    """Responses."""
    limit_bytes: int
    ttl_seconds: float = 0.0
    """After the last turn of a thread; 0: for ever."""


class Threads:
    """What both stores need; its methods are for use within a transaction.

    When there is no room, the thread that was not used for longest goes, of the tenant that takes
    most room. So whoever keeps little is not driven out by whoever keeps much.
    """

    def __init__(
        self, database: Database, bounds: Bounds, now: Callable[[], float] = time.time
    ) -> None:
        """`now` is in seconds since 1970."""
        self.database = database
        self.now = now
        self._bounds = bounds

    def of_tenant(self, tenant: str) -> ColumnElement[bool]:
        """The condition that a thread is this tenant's, and has not expired."""
        return and_(threads.c.tenant == tenant, ~self._expired)

    def begin(
        self, db: Connection, tenant: str, ident: str | None = None, metadata: str = "{}"
    ) -> int:
        """The number of a new thread; with an `ident` it is a conversation."""
        now = self.now()
        number: int = db.execute(
            threads.insert()
            .values(tenant=tenant, used=now, bytes=0, id=ident, created=now, metadata=metadata)
            .returning(threads.c.number)
        ).scalar_one()
        self.grow(db, number, ROW_BYTES + len(metadata))
        return number

    def grow(self, db: Connection, thread: int, size: int) -> None:
        """Count so many bytes more, which is a use of the thread. Raises StoreFullError.

        It is raised when that thread alone is too large; others are for make_room() to remove.
        """
        held = db.execute(
            update(threads)
            .where(threads.c.number == thread)
            .values(bytes=threads.c.bytes + size, used=self.now())
            .returning(threads.c.bytes)
        ).scalar_one()
        if held > self._bounds.limit_bytes:
            raise StoreFullError(
                f"one conversation may have {self._bounds.limit_bytes} bytes, as "
                "responses.limit_bytes says"
            )

    def add_items(
        self,
        db: Connection,
        thread: int,
        added: Iterable[Item],
        response: int | None = None,
        is_output: bool = False,
        listed: bool = False,
    ) -> None:
        """Append items, for which the thread must exist."""
        place = {"thread": thread, "response": response, "is_output": is_output, "listed": listed}
        rows = []
        for item in added:
            body = to_json(item)
            rows.append({**place, "id": item["id"], "body": body, "size": row_size(body)})
        if rows:
            db.execute(items.insert(), rows)
        self.grow(db, thread, sum(row["size"] for row in rows))

    def make_room(self, db: Connection, thread: int) -> None:
        """Remove what has expired, and what is too much beside this thread, as all writes do last.

        Raises StoreFullError when there is nothing to remove.
        """
        self.expire(db)
        while self._is_full(db):
            others = func.sum(case((threads.c.number == thread, 0), else_=1))
            largest = (
                select(threads.c.tenant)
                .group_by(threads.c.tenant)
                .having(others > 0)
                .order_by(func.sum(threads.c.bytes).desc())
                .limit(1)
                .scalar_subquery()
            )
            oldest = (
                select(threads.c.number)
                .where(threads.c.tenant == largest, threads.c.number != thread)
                .order_by(threads.c.used, threads.c.number)
                .limit(1)
            )
            victim = db.execute(oldest).scalar_one_or_none()
            if victim is None:
                raise StoreFullError(
                    f"one conversation may have {self._bounds.limit} responses, as "
                    "responses.limit says"
                )
            self.remove(db, victim)

    def expire(self, db: Connection) -> None:
        """Remove what has not been used for too long."""
        if self._bounds.ttl_seconds:
            db.execute(delete(threads).where(self._expired))

    def recount(self, db: Connection, thread: int) -> None:
        """After something of the thread was removed."""
        of_items, of_responses = (
            select(func.coalesce(func.sum(table.c.size), 0))
            .where(table.c.thread == thread)
            .scalar_subquery()
            for table in (items, responses)
        )
        size = of_items + of_responses + ROW_BYTES + func.length(threads.c.metadata)
        db.execute(update(threads).where(threads.c.number == thread).values(bytes=size))

    def remove(self, db: Connection, thread: int) -> None:
        """With all that belongs to it."""
        db.execute(delete(threads).where(threads.c.number == thread))

    @property
    def _expired(self) -> ColumnElement[bool]:
        ttl = self._bounds.ttl_seconds
        return threads.c.used <= (self.now() - ttl if ttl else -1.0)

    def _is_full(self, db: Connection) -> bool:
        size = db.execute(select(func.coalesce(func.sum(threads.c.bytes), 0))).scalar_one()
        count = db.execute(select(func.count()).select_from(responses)).scalar_one()
        return bool(size > self._bounds.limit_bytes or count > self._bounds.limit)


def read_page(
    db: Connection, condition: ColumnElement[bool], page: Page
) -> tuple[list[Item], bool] | None:
    """The items of a page, and whether there are more; None where none has the id `after`."""
    where = [condition]
    if page.after:
        first = items.c.number
        place = select(first).where(condition, items.c.id == page.after)
        start = db.execute(place).scalar_one_or_none()
        if start is None:
            return None
        where.append(first < start if page.newest_first else first > start)
    order = items.c.number.desc() if page.newest_first else items.c.number
    query = select(items.c.body).where(*where).order_by(order).limit(page.limit + 1)
    found = [from_json(body) for body in db.execute(query).scalars()]
    return found[: page.limit], len(found) > page.limit


def read_items(db: Connection, condition: ColumnElement[bool]) -> tuple[Item, ...]:
    """All items of a condition, in order."""
    query = select(items.c.body).where(condition).order_by(items.c.number)
    return tuple(from_json(body) for body in db.execute(query).scalars())


def history_until(end: int | None) -> ColumnElement[bool]:
    """The condition of items of a conversation up to a number; of none without one."""
    return and_(items.c.listed, items.c.number <= (-1 if end is None else end))
