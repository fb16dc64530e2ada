"""The SQLite database of files and batches: opened by one server at a time."""

import contextlib
import errno
import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from server.batches.records import BatchesDamagedError, BatchesUnavailableError, DiskFullError

FILE_NAME = "batches.sqlite"
SCHEMA_VERSION = 1

_BUSY_SECONDS = 5.0
# `held` is the sum of all bytes: a batch of many lines would sum them up for each.
_SCHEMA = (
    """CREATE TABLE files (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        tenant TEXT NOT NULL,
        name TEXT NOT NULL,
        purpose TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        created REAL NOT NULL,
        expires REAL)""",
    "CREATE INDEX files_of_tenant ON files (tenant, number)",
    """CREATE TABLE batches (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        tenant TEXT NOT NULL,
        input_file TEXT NOT NULL,
        is_open INTEGER NOT NULL,
        ended REAL,
        record BLOB NOT NULL)""",
    "CREATE INDEX batches_of_tenant ON batches (tenant, number)",
    "CREATE INDEX open_batches ON batches (input_file) WHERE is_open",
    """CREATE TABLE results (
        batch TEXT NOT NULL,
        line INTEGER NOT NULL,
        is_failure INTEGER NOT NULL,
        text BLOB NOT NULL,
        PRIMARY KEY (batch, line))""",
    "CREATE TABLE held (bytes INTEGER NOT NULL)",
    "INSERT INTO held VALUES (0)",
    """CREATE TRIGGER file_added AFTER INSERT ON files
        BEGIN UPDATE held SET bytes = bytes + NEW.bytes; END""",
    """CREATE TRIGGER file_gone AFTER DELETE ON files
        BEGIN UPDATE held SET bytes = bytes - OLD.bytes; END""",
    """CREATE TRIGGER result_added AFTER INSERT ON results
        BEGIN UPDATE held SET bytes = bytes + length(NEW.text); END""",
    """CREATE TRIGGER result_gone AFTER DELETE ON results
        BEGIN UPDATE held SET bytes = bytes - length(OLD.text); END""",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


class Database:
    """A connection for all threads, one at a time; what was committed outlives a power cut.

    Everything raises BatchesUnavailableError, and NoRoomError when the disk is full.
    """

    def __init__(self, folder: Path) -> None:
        """Open or make it. Raises BatchesDamagedError for what cannot be one of ours."""
        self._path = folder / FILE_NAME
        self._lock = threading.Lock()
        with contextlib.ExitStack() as undo:
            with disk_errors(folder):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._server_lock = os.open(
                    self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
                )
                undo.callback(os.close, self._server_lock)
                self._take_server_lock()
                # SQLite gives its other files the mode of this one.
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            with self._errors():
                self._db = sqlite3.connect(
                    self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
                )
                undo.callback(self._db.close)
                self._open()
            undo.pop_all()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone."""
        with self._lock, self._errors():
            yield self._db

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The same; all that is written inside is kept, or nothing."""
        with self.reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

    def close(self) -> None:
        """Wait for what is being done, and close it. Nothing may be called later."""
        with self._lock:
            self._db.close()
            os.close(self._server_lock)

    def _take_server_lock(self) -> None:
        # Two servers would compute every batch twice. The lock ends with the process.
        try:
            fcntl.flock(self._server_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BatchesUnavailableError(f"{self._path}: another server uses it") from None

    def _open(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if version != SCHEMA_VERSION and (version or tables):
            raise BatchesDamagedError(
                f"{self._path}: has schema version {version}, expected {SCHEMA_VERSION}; "
                "start the version of the server that wrote it, or set batches.directory"
            )
        self._db.execute("PRAGMA auto_vacuum = FULL")  # for a new file
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA secure_delete = ON")
        if not version:
            self._db.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA:
                self._db.execute(statement)
            self._db.execute("COMMIT")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """SQLite's errors become ours."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code == sqlite3.SQLITE_FULL:
                raise DiskFullError(f"{self._path}: the disk is full") from None
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise BatchesDamagedError(
                    f"{self._path}: damaged ({error}); put a copy of it from a backup in its "
                    "place, or move it away to begin without files and batches"
                ) from None
            raise BatchesUnavailableError(f"{self._path}: {error}") from None


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """The system's errors become ours."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFullError(f"{path}: the disk is full") from None
        raise BatchesUnavailableError(f"{path}: {error.strerror or error}") from None
