"""One SQLite file that several processes use, and that is made anew when it cannot be used."""

import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

SCHEMA_VERSION = 2
PAGE_BYTES = 65536
"""The largest there is: a snapshot costs 2.5 ms of CPU, with 16,384 it was 4.2."""
WAL_BYTES = 64 << 20
"""Beyond this the write-ahead log is emptied into the file as soon as nobody reads it."""
BUSY_SECONDS = 1.0

# The payloads lie apart, so that a look at the rest of a row need not pass over megabytes.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS snapshots (
    id INTEGER PRIMARY KEY, space BLOB, key BLOB UNIQUE, tokens INTEGER, has_logits INTEGER,
    used INTEGER);
CREATE INDEX IF NOT EXISTS by_length ON snapshots (space, tokens);
CREATE INDEX IF NOT EXISTS by_use ON snapshots (used);
CREATE TABLE IF NOT EXISTS payloads (id INTEGER PRIMARY KEY, payload BLOB);
"""
_PROBES = (
    "SELECT id, space, key, tokens, has_logits, used FROM snapshots LIMIT 1",
    "SELECT id, length(payload) FROM payloads LIMIT 1",
)
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
_MOST_BLOB_BYTES = 512 << 20

Identity = tuple[int, int]


def is_damaged(error: BaseException) -> bool:
    """Whether SQLite says so of the file."""
    return _code(error) in _DAMAGED


def is_busy(error: BaseException) -> bool:
    """Whether another process is to blame, which will be done soon."""
    if isinstance(error, BlockingIOError):
        return True
    return _code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def _code(error: BaseException) -> int:
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


class SqliteFile:
    """Opens, replaces and removes the file `path`, of `most_pages` pages at most.

    A process may find at any time that another has replaced the file: identity() tells. All of
    that happens under a lock file, since a file's first connection and its removal must not meet.
    """

    def __init__(self, path: Path, most_pages: int) -> None:
        self.path = path
        self.damages = 0
        """How often it was set aside."""
        self._most_pages = most_pages

    def identity(self) -> Identity | None:
        """Device and inode of the file; None if there is none."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def open(self) -> tuple[sqlite3.Connection, Identity | None]:
        """Connect, to a new file if there is none or a damaged one.

        Where nothing can be written the connection is read-only and comes without an identity.
        Raises sqlite3.Error and OSError.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._locked():
                return self._open_to_write(), self.identity()
        except (OSError, sqlite3.OperationalError) as error:
            if is_busy(error) or not self.path.exists():
                raise
            return self._open_to_read(), None

    def set_aside(self, damaged: Identity) -> None:
        """Rename the file, unless another process has replaced it already. Raises OSError."""
        with self._locked():
            if self.identity() == damaged:
                self._set_aside()

    def remove(self) -> None:
        """Delete the file, and one that was set aside. Raises OSError."""
        with self._locked():
            self.path.unlink(missing_ok=True)
            self.path.with_name(f"{self.path.name}.damaged").unlink(missing_ok=True)
            self._remove_logs()

    def bound_log(self, connection: sqlite3.Connection) -> None:
        """Empty the write-ahead log if it has grown because others were reading."""
        try:
            size = self.path.with_name(f"{self.path.name}-wal").stat().st_size
        except FileNotFoundError:
            return
        if size > WAL_BYTES:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _set_aside(self) -> None:
        self.damages += 1
        aside = self.path.with_name(f"{self.path.name}.damaged")
        self.path.replace(aside)
        self._remove_logs()
        log.warning("%s: damaged; renamed to %s and made anew", self.path, aside.name)

    def _remove_logs(self) -> None:
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + BUSY_SECONDS
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.005)
            yield
        finally:
            os.close(lock)

    def _open_to_write(self) -> sqlite3.Connection:
        try:
            return self._connect_to_write()
        except sqlite3.DatabaseError as error:
            if not is_damaged(error):
                raise
        self._set_aside()
        return self._connect_to_write()

    def _connect_to_write(self) -> sqlite3.Connection:
        if not self.path.exists():
            # Never to be opened otherwise: a close() would take SQLite's locks away.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection = self._connect("mode=rw")
        try:
            # These two count only for a file that is still empty.
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA secure_delete = OFF")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
            connection.execute(f"PRAGMA max_page_count = {self._most_pages}")
            self._make_schema(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _open_to_read(self) -> sqlite3.Connection:
        # Without locks and log: nobody else can write either, and payloads are verified.
        return self._connect("mode=ro&immutable=1")

    def _connect(self, mode: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?{mode}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.text_factory = bytes  # a damaged file may call anything a text
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_BLOB_BYTES)
        connection.execute("PRAGMA cell_size_check = ON")
        return connection

    def _make_schema(self, connection: sqlite3.Connection) -> None:
        """Make the tables, in place of those of another version."""
        ((version,),) = connection.execute("PRAGMA user_version").fetchall()
        if version != SCHEMA_VERSION:
            with transaction(connection):
                tables = "SELECT name FROM sqlite_schema WHERE type = 'table'"
                for (name,) in connection.execute(tables).fetchall():
                    connection.execute(f'DROP TABLE "{name.decode()}"')
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        try:
            for probe in _PROBES:
                connection.execute(probe).fetchall()
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_ERROR:
                raise
            damage = sqlite3.DatabaseError("the tables are not those of this version")
            damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise damage from None


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is written inside, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # some failures roll back by themselves
            connection.execute("ROLLBACK")
        raise


class Connection:
    """A connection that opens itself, opens again after an error or where the file was replaced,
    and sets a damaged file aside. One thread at a time; others wait.

    `on_open` is called with each connection that can write.
    """

    def __init__(
        self, file: SqliteFile, on_open: Callable[[sqlite3.Connection], None] = lambda _: None
    ) -> None:
        self._file = file
        self._on_open = on_open
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._identity: Identity | None = None

    @contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """Raises what is raised inside, and sqlite3.Error and OSError of opening."""
        with self._lock:
            try:
                yield self._opened()
            except BaseException as error:
                damaged = self._identity if is_damaged(error) else None
                self._close()
                if damaged is not None:
                    self._file.set_aside(damaged)
                raise

    def close(self) -> None:
        """Until the next use()."""
        with self._lock:
            self._close()

    def _opened(self) -> sqlite3.Connection:
        # A read-only connection has no identity and is never kept: others may come to write.
        if self._connection is not None and self._file.identity() != self._identity:
            self._close()
        if self._connection is None:
            self._connection, self._identity = self._file.open()
            if self._identity is not None:
                self._on_open(self._connection)
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._identity = None
