"""SQLite in a file of one's own, or PostgreSQL: transactions, and errors as ours."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Engine, event, exc, select

from server.stores.responses.records import StoreDamagedError, StoreUnavailableError
from server.stores.responses.tables import SCHEMA_VERSION, metadata, version
from server.stores.sqlite import PRAGMAS, Failures, is_damage, make_file

FILE_NAME = "responses.sqlite"

_BUSY_SECONDS = 5.0
_POSTGRES_CONNECTIONS = 4
_SCHEMA_LOCK = 0x72776B76
"""Of PostgreSQL: only one server makes the tables."""


_FAILURES = Failures(
    StoreUnavailableError,
    StoreDamagedError,
    StoreUnavailableError,
    setting="responses.directory",
    content="responses",
)


class Database:
    """Transactions, in any thread. The tables are made before the first one."""

    def __init__(self, engine: Engine, name: str, remedy: str) -> None:
        """`name` is what errors call it, and `remedy` what they advise where it is damaged."""
        self._engine = engine
        self._name = name
        self._remedy = remedy
        self._opening = threading.Lock()
        self._is_open = False

    def open(self) -> None:
        """Make the tables, if there are none. Raises StoreUnavailableError."""
        with self._opening, self._errors():
            if self._is_open:
                return
            with self._engine.begin() as db:
                if self._engine.dialect.name == "postgresql":
                    db.execute(select(sqlalchemy.func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
                self._make_tables(db)
            self._is_open = True

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """All that is written inside, or nothing. Raises StoreUnavailableError."""
        self.open()
        with self._errors(), self._engine.begin() as db:
            yield db

    def forget_deleted(self) -> None:
        """Deleted rows shall not stay in SQLite's write-ahead log."""
        if self._engine.dialect.name == "sqlite":
            with self._errors(), closing(self._engine.raw_connection()) as connection:
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close all connections that are not in use."""
        self._engine.dispose()

    def _make_tables(self, db: Connection) -> None:
        is_new = not sqlalchemy.inspect(db).has_table(version.name)
        if is_new:
            metadata.create_all(db)
            db.execute(version.insert().values(version=SCHEMA_VERSION))
        found = db.execute(select(version.c.version)).scalar_one()
        if found != SCHEMA_VERSION:
            raise StoreDamagedError(
                f"{self._name}: has schema version {found}, expected {SCHEMA_VERSION}; start the "
                f"version of the server that wrote it, or {self._remedy}"
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except exc.SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            if is_damage(cause):
                raise StoreDamagedError(
                    f"{self._name}: damaged ({cause}); put a copy of it from a backup in its "
                    f"place, or {self._remedy}"
                ) from None
            line = " ".join(str(cause).split())[:300]
            raise StoreUnavailableError(f"{self._name}: {line}") from None


def open_sqlite(folder: Path) -> Database:
    """A database in a folder, which is made. Raises StoreUnavailableError."""
    path = folder / FILE_NAME
    make_file(path, _FAILURES)
    engine = sqlalchemy.create_engine(
        sqlalchemy.URL.create("sqlite", database=str(path)),
        # One connection: threads wait for one another here and not in SQLite, which polls.
        pool_size=1,
        max_overflow=0,
        connect_args={"timeout": _BUSY_SECONDS, "isolation_level": None},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    # Python's own BEGIN comes too late, and two that read before they write would fail.
    event.listen(engine, "begin", lambda db: db.exec_driver_sql("BEGIN IMMEDIATE"))
    return Database(engine, str(path), "move it away to begin without responses")


def open_postgres(url: str) -> Database:
    """A database of a PostgreSQL server, which may be away for now.

    Raises StoreUnavailableError where its driver is missing, or the URL is none.
    """
    try:
        parsed = sqlalchemy.make_url(url).set(drivername="postgresql+psycopg")
        engine = sqlalchemy.create_engine(
            parsed,
            pool_size=_POSTGRES_CONNECTIONS,
            max_overflow=0,
            pool_timeout=_BUSY_SECONDS,
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": int(_BUSY_SECONDS),
                "options": "-c statement_timeout=30s -c lock_timeout=10s",
            },
        )
    except ModuleNotFoundError:
        raise StoreUnavailableError(
            "psycopg is not installed: pip install 'rwkv-server[postgres]'"
        ) from None
    except (exc.ArgumentError, ValueError) as error:
        raise StoreUnavailableError(f"not a URL of a database: {error}") from None
    name = sqlalchemy.URL.create(
        "postgresql", host=parsed.host, port=parsed.port, database=parsed.database
    )
    return Database(engine, str(name), "name another database")


def _prepare_sqlite(connection: Any, _: Any) -> None:
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}").fetchall()
