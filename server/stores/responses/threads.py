"""Threads and their items: whose they are, how much room they take, and when they go."""

import time
from collections.abc import Callable, Iterable

from sqlalchemy import ColumnElement, Connection, and_, delete, func, select, update

from server.stores.responses.database import Database
from server.stores.responses.reading import to_json
from server.stores.responses.records import Item, StoreFullError
from server.stores.responses.room import Bounds, Room
from server.stores.responses.tables import items, responses, threads

ROW_BYTES = 512
"""What a row counts besides its text, so that many small ones are bounded as well."""

_TRIMMED_AT_ONCE = 200
"""Threads in a transaction; others wait for the database meanwhile."""
MAX_ITEMS = 50_000
"""Of one thread: it is read, and removed, as a whole."""


def row_size(body: str) -> int:
    """What a row with this text counts."""
    return (len(body) if body.isascii() else len(body.encode())) + ROW_BYTES


class Threads:
    """What both stores need; its methods are for use within a transaction."""

    def __init__(
        self, database: Database, bounds: Bounds, now: Callable[[], float] = time.time
    ) -> None:
        """`now` is in seconds since 1970."""
        self.database = database
        self.now = now
        self.bounds = bounds

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
        bounds = self.bounds
        most, name = bounds.limit_bytes, "limit_bytes"
        if 0 < bounds.tenant_limit_bytes < most:
            most, name = bounds.tenant_limit_bytes, "tenant_limit_bytes"
        if held > most:
            raise StoreFullError(
                f"one conversation may have {most} bytes, as responses.{name} says"
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
            _check_number(db, thread)
        self.grow(db, thread, sum(row["size"] for row in rows))

    def make_room(self, db: Connection, thread: int) -> None:
        """Remove what has expired, and what is too much beside this thread, as all writes do last.

        Raises StoreFullError when there is nothing to remove.
        """
        self.expire(db)
        Room(db, self.bounds, thread).make()

    def trim(self, db: Connection) -> bool:
        """Remove some of what is too much since the bounds were lowered; whether there is more."""
        self.expire(db)
        return Room(db, self.bounds).make(_TRIMMED_AT_ONCE)

    def expire(self, db: Connection) -> None:
        """Remove what has not been used for too long."""
        if self.bounds.ttl_seconds:
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
        ttl = self.bounds.ttl_seconds
        return threads.c.used <= (self.now() - ttl if ttl else -1.0)


def _check_number(db: Connection, thread: int) -> None:
    count = select(func.count()).select_from(items).where(items.c.thread == thread)
    if db.execute(count).scalar_one() > MAX_ITEMS:
        raise StoreFullError(f"one conversation may have {MAX_ITEMS} items; begin a new one")
