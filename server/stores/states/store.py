"""States that clients keep under ids: user data in one SQLite file, of which nothing is evicted."""

import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from server.stores.sqlite import Failures, Schema, StoreFile
from server.stores.states.records import (
    DiskFullError,
    NamedState,
    NewState,
    StatesDamagedError,
    StatesFullError,
    StatesUnavailableError,
    UnknownStateError,
)

FILE_NAME = "named.sqlite"
SCHEMA_VERSION = 1

_PAGE_BYTES = 16 * 1024
_USED_SECONDS = 60.0
"""The time of the last use is written so seldom, or ten times in a state's ttl."""

_SCHEMA = (
    """CREATE TABLE states (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        model TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        tokens INTEGER NOT NULL,
        has_logits INTEGER NOT NULL,
        name TEXT NOT NULL,
        ttl_seconds INTEGER NOT NULL,
        pinned INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        created REAL NOT NULL,
        used REAL NOT NULL,
        tenant TEXT NOT NULL)""",
    "CREATE INDEX of_tenant ON states (tenant, number)",
    # Apart from what is listed, counted and searched.
    """CREATE TABLE payloads (
        number INTEGER PRIMARY KEY REFERENCES states ON DELETE CASCADE,
        payload BLOB NOT NULL)""",
)
_LAYOUT = Schema(SCHEMA_VERSION, _SCHEMA, page_bytes=_PAGE_BYTES)
FAILURES = Failures(
    DiskFullError,
    StatesDamagedError,
    StatesUnavailableError,
    setting="states.directory",
    content="states",
)
_COLUMNS = (
    "id, model, fingerprint, tokens, has_logits, name, ttl_seconds, pinned, bytes, created, used"
)
_ALIVE = "(pinned OR ttl_seconds = 0 OR used + ttl_seconds > :now)"
_MINE = f"tenant = :tenant AND id = :id AND {_ALIVE}"


class NamedStates:
    """The states of all tenants, each of which sees its own alone.

    Every method may be called from any thread and waits for the disk. Besides what it names, each
    raises StatesUnavailableError, and what writes raises StatesFullError when the disk is full.
    """

    def __init__(
        self,
        folder: Path,
        limit_bytes: int,
        now: Callable[[], float] = time.time,
        tenant_limit_bytes: int = 0,
    ) -> None:
        """Open or make the file. `limit_bytes` bounds the states' bytes in all.

        `tenant_limit_bytes`, unless 0, bounds those of each tenant; if it is 0, a tenant may take
        no more than it leaves to others while `is_shared` says that there are some.

        Raises StatesDamagedError or StatesUnavailableError.
        """
        self.is_shared: Callable[[], bool] = lambda: False
        self._limit_bytes = limit_bytes
        self._tenant_limit_bytes = tenant_limit_bytes
        self._now = now
        self._file = StoreFile(folder / FILE_NAME, _LAYOUT, FAILURES)
        try:
            with self._file.transaction() as db:
                self._remove_expired(db)
            self._file.empty_log()
        except BaseException:
            self._file.close()
            raise

    def check_room(self, tenant: str, size: int) -> None:
        """Raises StatesFullError when the tenant has no room for so many bytes."""
        with self._file.transaction() as db:
            self._make_room(db, tenant, size)

    def add(self, tenant: str, new: NewState, payload: bytes) -> NamedState:
        """Keep a state; it is on the disk when this returns. Raises StatesFullError."""
        now = self._now()
        ident = f"state_{secrets.token_hex(16)}"
        state = NamedState(**vars(new), id=ident, bytes=len(payload), created=now, used=now)
        columns = _COLUMNS + ", tenant"
        values = ", ".join(f":{column}" for column in columns.split(", "))
        with self._file.transaction() as db:
            self._make_room(db, tenant, len(payload))
            row = db.execute(
                f"INSERT INTO states ({columns}) VALUES ({values})",
                {**vars(state), "tenant": tenant},
            )
            db.execute("INSERT INTO payloads VALUES (?, ?)", (row.lastrowid, payload))
        return state

    def get(self, tenant: str, ident: str) -> NamedState:
        """Raises UnknownStateError."""
        with self._file.reading() as db:
            return self._get(db, tenant, ident)

    def read(self, tenant: str, ident: str) -> tuple[NamedState, bytes]:
        """A state and its bytes; that is a use of it. Raises UnknownStateError."""
        with self._file.reading() as db:
            state = self._get(db, tenant, ident)
            (payload,) = db.execute(
                "SELECT payload FROM payloads JOIN states USING (number) WHERE id = ?", (ident,)
            ).fetchone()
            seldom = min(_USED_SECONDS, state.ttl_seconds / 10 or _USED_SECONDS)
            if self._now() - state.used >= seldom:
                db.execute("UPDATE states SET used = ? WHERE id = ?", (self._now(), ident))
        return state, payload

    def list(
        self,
        tenant: str,
        limit: int,
        after: str = "",
        newest_first: bool = True,
        model: str | None = None,
        name: str | None = None,
    ) -> tuple[list[NamedState], bool]:
        """At most `limit` states by creation, and whether there are more.

        Raises UnknownStateError for the id that they are to come after.
        """
        where = f"tenant = :tenant AND {_ALIVE}"
        if after:
            comparison = "<" if newest_first else ">"
            where += f" AND number {comparison} (SELECT number FROM states WHERE id = :after)"
        if model is not None:
            where += " AND model = :model"
        if name is not None:
            where += " AND name = :name"
        order = "DESC" if newest_first else "ASC"
        query = f"SELECT {_COLUMNS} FROM states WHERE {where} ORDER BY number {order} LIMIT :rows"
        values = {"tenant": tenant, "now": self._now(), "rows": limit + 1}
        with self._file.reading() as db:
            if after:
                self._get(db, tenant, after)
            rows = db.execute(query, {**values, "after": after, "model": model, "name": name})
            states = [_state(row) for row in rows]
        return states[:limit], len(states) > limit

    def update(
        self, tenant: str, ident: str, changes: Mapping[str, str | int], payload: bytes = b""
    ) -> NamedState:
        """Change columns, and its bytes to others of the same tokens, if there are any.

        That is a use of it. Raises UnknownStateError.
        """
        values = {**changes, "used": self._now()}
        assignments = ", ".join(f"{column} = :{column}" for column in values)
        with self._file.transaction() as db:
            state = self._get(db, tenant, ident)
            db.execute(f"UPDATE states SET {assignments} WHERE id = :id", {**values, "id": ident})
            if payload:
                row = "(SELECT number FROM states WHERE id = ?)"
                db.execute(
                    f"UPDATE payloads SET payload = ? WHERE number = {row}", (payload, ident)
                )
            return self._get(db, tenant, state.id)

    def remove(self, tenant: str, ident: str) -> None:
        """Delete a state; its bytes leave the disk. Raises UnknownStateError."""
        with self._file.transaction() as db:
            self._get(db, tenant, ident)
            db.execute("DELETE FROM states WHERE id = ?", (ident,))
        self._file.empty_log()

    def close(self) -> None:
        """Wait for what is being done, and close the file. Nothing may be called later."""
        self._file.close()

    def _get(self, db: sqlite3.Connection, tenant: str, ident: str) -> NamedState:
        row = db.execute(
            f"SELECT {_COLUMNS} FROM states WHERE {_MINE}",
            {"tenant": tenant, "id": ident, "now": self._now()},
        ).fetchone()
        if row is None:
            raise UnknownStateError(ident)
        return _state(row)

    def _make_room(self, db: sqlite3.Connection, tenant: str, size: int) -> None:
        """Remove what has expired; raises StatesFullError when that is not enough."""
        self._remove_expired(db)
        query = "SELECT total(bytes) FROM states"
        (held,) = db.execute(query).fetchone()
        _check_limit(held + size, size, "limit_bytes", self._limit_bytes)
        (own,) = db.execute(f"{query} WHERE tenant = ?", (tenant,)).fetchone()
        if self._tenant_limit_bytes:
            _check_limit(own + size, size, "tenant_limit_bytes", self._tenant_limit_bytes)
        elif self.is_shared() and own + size > self._limit_bytes - held - size:
            raise StatesFullError(
                f"you have {own:.0f} bytes, and {size} more would leave less than that to all "
                f"others (states.limit_bytes = {self._limit_bytes}); delete others first"
            )

    def _remove_expired(self, db: sqlite3.Connection) -> None:
        db.execute(f"DELETE FROM states WHERE NOT {_ALIVE}", {"now": self._now()})


def _check_limit(total: float, size: int, setting: str, limit: int) -> None:
    if total > limit:
        raise StatesFullError(
            f"{size} bytes more would exceed states.{setting} = {limit}; delete others first"
        )


def _state(row: tuple[object, ...]) -> NamedState:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    flags = {name: bool(values[name]) for name in ("has_logits", "pinned")}
    return NamedState(**{**values, **flags})  # type: ignore[arg-type]
