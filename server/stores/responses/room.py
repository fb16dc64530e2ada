"""Who makes room when too much is kept: whoever keeps most."""

import heapq
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, case, delete, func, select

from server.stores.responses.records import StoreFullError
from server.stores.responses.tables import responses, threads

Measure = Literal["entries", "bytes"]

_READ_AT_ONCE = 100
_SPARE = 1000
"""One part of so many is made free besides, so that not every write has to look for room."""


@dataclass(frozen=True)
class Bounds:
    """How much is kept, and for how long."""

    limit: int
    """Responses and conversations together: entries."""
    limit_bytes: int
    ttl_seconds: float = 0.0
    """After the last turn of a thread; 0: for ever."""
    tenant_limit: int = 0
    """Entries of one tenant; 0: no limit of its own."""
    tenant_limit_bytes: int = 0
    """Bytes of one tenant; 0: no limit of its own."""
    context_bytes: int = 16 << 20
    """Stored items that one request may read."""


class Room:
    """Makes room within one transaction, beside a thread that is being written, if any.

    First a tenant that has more than its own limit gives, then the one that has most of what there
    is too much of, entries or bytes. So whoever keeps little is not driven out by whoever keeps
    much. Of a tenant the thread goes that was not used for longest.
    """

    def __init__(self, db: Connection, bounds: Bounds, thread: int | None = None) -> None:
        self._db = db
        self._bounds = bounds
        self._thread = thread
        self._left = math.inf

    def make(self, most: float = math.inf) -> bool:
        """Remove what is too much, at most so many threads; whether it stopped at those.

        Raises StoreFullError when there is nothing to remove beside the thread.
        """
        self._left = most
        bounds = self._bounds
        self._trim_tenants("entries", bounds.tenant_limit)
        self._trim_tenants("bytes", bounds.tenant_limit_bytes)
        self._trim_all("entries", bounds.limit)
        self._trim_all("bytes", bounds.limit_bytes)
        return self._left <= 0

    def _trim_tenants(self, measure: Measure, limit: int) -> None:
        if not limit:
            return
        for tenant, held in self._held(measure, self._tenant()).items():
            missing = held - limit
            victims = self._victims(tenant)
            while missing > 0 and self._left > 0:
                victim = next(victims, None)
                if victim is None:
                    self._refuse(measure, "tenant_limit", limit)
                    break
                missing -= self._remove(victim, measure)

    def _trim_all(self, measure: Measure, limit: int) -> None:
        """Take from the tenants that hold most, until nothing is too much."""
        missing = self._total(measure) - limit
        if missing <= 0:
            return
        spare = limit // _SPARE
        largest = [(-held, tenant) for tenant, held in self._held(measure).items()]
        heapq.heapify(largest)
        victims = {tenant: self._victims(tenant) for _, tenant in largest}
        while missing + spare > 0 and self._left > 0 and largest:
            held, tenant = heapq.heappop(largest)
            victim = next(victims[tenant], None)
            if victim is None:
                continue  # it has only what is being written
            size = self._remove(victim, measure)
            missing -= size
            heapq.heappush(largest, (held + size, tenant))
        if missing > 0 and not largest:
            self._refuse(measure, "limit", limit)

    def _refuse(self, measure: Measure, name: str, limit: int) -> None:
        if self._thread is None:
            return
        what, end = ("bytes", "_bytes") if measure == "bytes" else ("responses", "")
        raise StoreFullError(
            f"one conversation may have {limit} {what}, as responses.{name}{end} says"
        )

    def _tenant(self) -> str | None:
        """Who writes; None: nobody."""
        here = threads.c.number == self._thread
        found: str | None = self._db.execute(select(threads.c.tenant).where(here)).scalar()
        return found

    def _total(self, measure: Measure) -> int:
        if measure == "bytes":
            size = select(func.coalesce(func.sum(threads.c.bytes), 0))
            return int(self._db.execute(size).scalar_one())
        counts = (select(func.count()).select_from(responses), select(func.count(threads.c.id)))
        return sum(self._db.execute(count).scalar_one() for count in counts)

    def _held(self, measure: Measure, tenant: str | None = None) -> Counter[str]:
        """By tenant; with a tenant, only of that one."""
        of_threads = func.sum(threads.c.bytes) if measure == "bytes" else func.count(threads.c.id)
        queries = [select(threads.c.tenant, of_threads)]
        if measure == "entries":
            queries.append(select(threads.c.tenant, func.count()).join(responses))
        found = Counter[str]()
        for query in queries:
            chosen = query if tenant is None else query.where(threads.c.tenant == tenant)
            for each, number in self._db.execute(chosen.group_by(threads.c.tenant)):
                found[each] += int(number)
        return found

    def _victims(self, tenant: str) -> Iterator[Row[Any, Any, Any]]:
        """Threads, the one first that was not used for longest; each is removed before the next."""
        own = select(func.count()).where(responses.c.thread == threads.c.number).scalar_subquery()
        is_conversation = case((threads.c.id.is_(None), 0), else_=1)
        query = (
            select(threads.c.number, threads.c.bytes, (own + is_conversation).label("entries"))
            .where(threads.c.tenant == tenant)
            .order_by(threads.c.used, threads.c.number)
            .limit(_READ_AT_ONCE)
        )
        if self._thread is not None:
            query = query.where(threads.c.number != self._thread)
        while rows := self._db.execute(query).all():
            yield from rows

    def _remove(self, victim: Row[Any, Any, Any], measure: Measure) -> int:
        """Gives what becomes free."""
        self._db.execute(delete(threads).where(threads.c.number == victim.number))
        self._left -= 1
        return int(getattr(victim, measure))
