"""The tier on disk: one SQLite file for all workers and all models of a machine.

Within its limit the least recently used go first. The pages in use are what counts, so the file
cannot outgrow the limit; the write-ahead log beside it is emptied beyond 64 MB. Transactions are
whole or absent after a crash, and what a damaged disk makes of a payload is caught by whoever
verifies it.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from server.protocol.tier_view import TierName
from server.state_cache.breaker import CircuitBreaker
from server.state_cache.sqlite_file import (
    PAGE_BYTES,
    Connection,
    SqliteFile,
    is_busy,
    is_damaged,
    transaction,
)
from server.state_cache.store import MOST_LENGTHS, StoreUnavailable

FILE_NAME = "cache.sqlite"
RETRY_SECONDS = 60.0
"""After a full or failing disk, writing is tried again."""

# Pages that a snapshot takes beside those of its payload, at most: one in each tree may split.
_SPARE_PAGES = 16
_TOUCHED = 4096
_FAILURES = (sqlite3.Error, OSError, MemoryError, OverflowError)


class DiskStore:
    """A SnapshotStore in `folder`, whose file has at most `limit_bytes`.

    Other processes may use the same folder. Nothing is opened before it is needed. Reads are noted
    in memory, and written as uses with the next snapshot.
    """

    name: TierName = "disk"

    def __init__(
        self,
        folder: Path,
        limit_bytes: int,
        clock: Callable[[], float] = time.time,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._errors = 0
        self._limit_pages = limit_bytes // PAGE_BYTES
        self._clock = clock
        self._file = SqliteFile(folder / FILE_NAME, max(self._limit_pages, _SPARE_PAGES))
        self._reader = Connection(self._file)
        self._writer = Connection(self._file, self._shrink)
        path = self._file.path
        self._reading = CircuitBreaker(f"reading {path}", 1.0, 30.0)
        self._writing = CircuitBreaker(f"writing {path}", retry_seconds, retry_seconds)
        self._touched: dict[bytes, int] = {}

    @property
    def errors(self) -> int:
        """See SnapshotStore."""
        return self._errors + self._file.damages

    def prepare(self) -> None:
        """See SnapshotStore. Takes over the file that is there and shrinks it to the limit."""
        with self._guarded(self._writer, self._writing):
            pass

    def lengths(self, space: str, above: int, up_to: int) -> list[int]:
        """See SnapshotStore."""
        query = (
            "SELECT DISTINCT tokens FROM snapshots WHERE space = ? AND tokens > ? AND tokens <= ? "
            "ORDER BY tokens DESC LIMIT ?"
        )
        with self._guarded(self._reader, self._reading) as connection:
            values = (bytes.fromhex(space), above, up_to, MOST_LENGTHS)
            found = connection.execute(query, values).fetchall()
        return [tokens for (tokens,) in found if isinstance(tokens, int)]

    def present(self, keys: Sequence[bytes]) -> dict[bytes, bool]:
        """See SnapshotStore."""
        marks = ", ".join("?" * len(keys))
        query = f"SELECT key, has_logits FROM snapshots WHERE key IN ({marks})"
        with self._guarded(self._reader, self._reading) as connection:
            found = connection.execute(query, keys).fetchall()
        return {key: bool(has_logits) for key, has_logits in found}

    def read(self, space: str, key: bytes, tokens: int) -> bytes | None:  # noqa: ARG002
        """See SnapshotStore."""
        query = "SELECT payload FROM payloads JOIN snapshots USING (id) WHERE key = ?"
        with self._guarded(self._reader, self._reading) as connection:
            row = connection.execute(query, (key,)).fetchone()
        if row is None:
            return None
        if len(self._touched) < _TOUCHED:
            self._touched[key] = self._now()
        payload = row[0]
        return payload if isinstance(payload, bytes) else b""  # damaged: no snapshot either way

    def write(self, space: str, key: bytes, tokens: int, has_logits: bool, payload: bytes) -> bool:
        """See SnapshotStore."""
        needed = len(payload) // (PAGE_BYTES - 4) + _SPARE_PAGES
        if needed > self._limit_pages:
            return False
        row = (bytes.fromhex(space), key, tokens, has_logits, self._now())
        with self._guarded(self._writer, self._writing) as connection:
            with transaction(connection):
                self._note_uses(connection)
                _delete(connection, "key = ?", key)
                while _pages(connection) + needed > self._limit_pages and _evict(connection):
                    pass
                cursor = connection.execute(
                    "INSERT INTO snapshots (space, key, tokens, has_logits, used) "
                    "VALUES (?, ?, ?, ?, ?)",
                    row,
                )
                values = (cursor.lastrowid, payload)
                connection.execute("INSERT INTO payloads (id, payload) VALUES (?, ?)", values)
            self._file.bound_log(connection)
        return True

    def remove(self, key: bytes) -> None:
        """See SnapshotStore."""
        with self._guarded(self._writer, self._writing) as connection, transaction(connection):
            _delete(connection, "key = ?", key)

    def clear(self) -> None:
        """See SnapshotStore. The disk space is free at once."""
        self._disconnect()
        self._touched = {}
        try:
            if self._file.path.exists():
                self._file.remove()
        except OSError as error:
            self._fail(error, self._writing)

    def usage(self) -> tuple[int, int]:
        """See SnapshotStore. The bytes are those of all pages in use."""
        with self._guarded(self._reader, self._reading) as connection:
            ((entries,),) = connection.execute("SELECT count(*) FROM snapshots").fetchall()
            return entries, _pages(connection) * PAGE_BYTES

    def close(self) -> None:
        """See SnapshotStore. Uses that are still in memory are written."""
        if self._touched:
            writing = self._guarded(self._writer, self._writing)
            with suppress(StoreUnavailable), writing as connection, transaction(connection):
                self._note_uses(connection)
        self._disconnect()

    def _disconnect(self) -> None:
        self._reader.close()
        self._writer.close()

    @contextmanager
    def _guarded(
        self, connection: Connection, breaker: CircuitBreaker
    ) -> Iterator[sqlite3.Connection]:
        breaker.check()
        try:
            with connection.use() as opened:
                yield opened
        except _FAILURES as error:
            self._fail(error, breaker)
        breaker.succeeded()

    def _fail(self, error: BaseException, breaker: CircuitBreaker) -> None:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if not is_damaged(error):  # which is mended, and counted by the file
            self._errors += 1
            if not is_busy(error):
                breaker.failed(why)
        raise StoreUnavailable(f"{self._file.path}: {why}") from None

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _note_uses(self, connection: sqlite3.Connection) -> None:
        touched, self._touched = self._touched, {}
        uses = [(used, key) for key, used in touched.items()]
        connection.executemany("UPDATE snapshots SET used = ? WHERE key = ?", uses)

    def _shrink(self, connection: sqlite3.Connection) -> None:
        """Come down to a limit that is lower than before."""
        if _pragma(connection, "page_count") <= self._limit_pages:
            return
        with transaction(connection):
            while _pages(connection) > self._limit_pages and _evict(connection):
                pass
        # A full vacuum, which comes with this commit, takes time in proportion to what it moves;
        # an incremental one searches the list of free pages for each.
        connection.execute("PRAGMA auto_vacuum = FULL")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _pages(connection: sqlite3.Connection) -> int:
    """Pages in use."""
    return _pragma(connection, "page_count") - _pragma(connection, "freelist_count")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _evict(connection: sqlite3.Connection) -> bool:
    """Delete the least recently used; False if there is none."""
    row = connection.execute("SELECT id FROM snapshots ORDER BY used, id LIMIT 1").fetchone()
    if row is not None:
        _delete(connection, "id = ?", row[0])
    return row is not None


def _delete(connection: sqlite3.Connection, where: str, value: bytes | int) -> None:
    found = connection.execute(f"SELECT id FROM snapshots WHERE {where}", (value,)).fetchall()
    connection.executemany("DELETE FROM snapshots WHERE id = ?", found)
    connection.executemany("DELETE FROM payloads WHERE id = ?", found)
