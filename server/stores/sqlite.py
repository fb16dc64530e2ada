"""SQLite files of users' data: the one way to open, check, upgrade and write them."""

import contextlib
import errno
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

BUSY_SECONDS = 5.0
PRAGMAS = (
    "auto_vacuum = FULL",  # counts only for a new file, as the size of its pages does
    "journal_mode = WAL",
    "synchronous = FULL",
    "secure_delete = ON",  # what is deleted is overwritten
    "foreign_keys = ON",
)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Failures:
    """What a store raises, each with one line, and what its users can do."""

    full: type[Exception]
    """The disk is full."""
    damaged: type[Exception]
    """The file is damaged, or of no version that can be read."""
    unavailable: type[Exception]
    """It cannot be opened, read or written."""
    setting: str
    """Names another folder."""
    content: str
    """What there is none of without the file."""

    def of_version(self, path: Path | str, found: int, expected: int) -> Exception:
        """A file with tables of a version that this server does not know."""
        return self.damaged(
            f"{path}: has schema version {found}, expected {expected}; start the version of the "
            f"server that wrote it, or set {self.setting}"
        )

    def of_damage(self, path: Path | str, error: object) -> Exception:
        """A file that SQLite cannot read."""
        return self.damaged(
            f"{path}: damaged ({error}); put a copy of it from a backup in its place, or move it "
            f"away to begin without {self.content}"
        )

    @contextlib.contextmanager
    def of_system(self, path: Path) -> Iterator[None]:
        """The system's errors become the store's."""
        try:
            yield
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise self.full(f"{path}: the disk is full") from None
            raise self.unavailable(f"{path}: {error.strerror or error}") from None

    @contextlib.contextmanager
    def of_sqlite(self, path: Path) -> Iterator[None]:
        """SQLite's errors become the store's."""
        try:
            yield
        except sqlite3.Error as error:
            if _code(error) == sqlite3.SQLITE_FULL:
                raise self.full(f"{path}: the disk is full") from None
            if is_damage(error):
                raise self.of_damage(path, error) from None
            raise self.unavailable(f"{path}: {error}") from None


@dataclass(frozen=True)
class Schema:
    """The tables of a file, and how to make them of those of earlier versions."""

    version: int
    statements: Sequence[str]
    """Make a new file's tables."""
    upgrades: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """By version: what makes the next one of it."""
    page_bytes: int = 4096

    def knows(self, version: int) -> bool:
        """Whether tables of a version are these, or can be made these."""
        return all(number in self.upgrades for number in range(version, self.version))


def make_file(path: Path, failures: Failures) -> None:
    """Make an empty file that only this user may read, if there is none."""
    with failures.of_system(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives its other files the mode of this one.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)


def is_damage(error: object) -> bool:
    """Whether SQLite says that a file is no database, or a broken one."""
    return _code(error) in _DAMAGED


def _code(error: object) -> int:
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


class StoreFile:
    """One connection for all threads, one at a time; what was committed outlives a power cut."""

    def __init__(self, path: Path, schema: Schema, failures: Failures) -> None:
        """Open or make the file, and bring its tables up to date. Raises what `failures` names."""
        self.path = path
        self._schema = schema
        self._failures = failures
        self._lock = threading.Lock()
        make_file(path, failures)
        with failures.of_sqlite(path):
            self._db = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        try:
            self._open()
        except BaseException:
            self._db.close()
            raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone."""
        with self._lock, self._failures.of_sqlite(self.path):
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
                if db.in_transaction:  # some failures roll back by themselves
                    db.execute("ROLLBACK")

    def empty_log(self) -> None:
        """Deleted bytes shall not stay in the write-ahead log."""
        with self.reading() as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Wait for what is being done, and close the file. Nothing may be called later."""
        with self._lock:
            self._db.close()

    def _open(self) -> None:
        with self.reading() as db:
            self._version(db)  # before anything is written
            db.execute(f"PRAGMA page_size = {self._schema.page_bytes}")
            for pragma in PRAGMAS:
                db.execute(f"PRAGMA {pragma}")
        with self.transaction() as db:
            version = self._version(db)  # another process may have been faster
            steps = [self._schema.statements]
            if version:
                known = range(version, self._schema.version)
                steps = [self._schema.upgrades[number] for number in known]
            for statement in (each for step in steps for each in step):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {self._schema.version}")

    def _version(self, db: sqlite3.Connection) -> int:
        """Of the tables; 0 for a new file. Raises what is damaged for one that is not known."""
        version: int
        # In one statement: another process may be about to make them.
        version, tables = db.execute(
            "SELECT user_version, (SELECT count(*) FROM sqlite_master) FROM pragma_user_version"
        ).fetchone()
        is_new = not version and not tables
        is_known = 0 < version <= self._schema.version and self._schema.knows(version)
        if not is_new and not is_known:
            raise self._failures.of_version(self.path, version, self._schema.version)
        return version
