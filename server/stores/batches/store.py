"""The batches of all tenants, and the answers to their lines until they become files."""

import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from server.config_stores import BatchesSettings
from server.stores.batches.database import FAILURES, Database
from server.stores.batches.files import Draft, Files
from server.stores.batches.records import (
    OPEN,
    Batch,
    BatchOverError,
    Ending,
    LineError,
    NewBatch,
    Status,
    TokenUse,
    UnknownBatchError,
    WrongPurposeError,
)
from server.stores.batches.room import Room

WINDOW_SECONDS = 24 * 3600.0
INPUT_PURPOSE, OUTPUT_PURPOSE = "batch", "batch_output"
PAGE_BYTES = 16 << 20
"""A page of batches ends here."""
_CHUNK_LINES = 256

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Batch).decode


class BatchStore:
    """Every method may be called from any thread and waits for the disk.

    What it was told is kept, also when the server is killed. Besides what it names, each raises
    BatchesUnavailableError, and what writes raises NoRoomError when the disk is full.
    """

    def __init__(
        self, folder: Path, settings: BatchesSettings, now: Callable[[], float] = time.time
    ) -> None:
        """Open or make the files. Raises BatchesUnavailableError or BatchesDamagedError."""
        self.now = now
        self._settings = settings
        self._database = Database(folder)
        try:
            self.files = Files(self._database, folder / "files", settings, now)
            self.room = Room(self._database, settings)
            self.sweep()
        except BaseException:
            self._database.close()
            raise

    def begin_upload(self, tenant: str, size: int) -> None:
        """The same as Room.begin_upload(), when what has expired is gone."""
        self.files.sweep()
        self.room.begin_upload(tenant, size)

    def add(self, new: NewBatch, window_seconds: float = WINDOW_SECONDS) -> Batch:
        """A batch that is to be validated.

        Raises UnknownFileError, WrongPurposeError and NoRoomError.
        """
        self.sweep()
        created = self.now()
        batch = Batch(
            **msgspec.structs.asdict(new),
            id=f"batch_{secrets.token_hex(16)}",
            created=created,
            expires=created + window_seconds,
        )
        tenant = new.owner.tenant
        with self._database.transaction() as db:
            file = self.files.find(db, tenant, new.input_file)
            if file.purpose != INPUT_PURPOSE:
                raise WrongPurposeError(file.purpose)
            self.room.check_batches(db, tenant)
            db.execute(
                "INSERT INTO batches (id, tenant, input_file, is_open, record) "
                "VALUES (?, ?, ?, 1, ?)",
                (batch.id, tenant, batch.input_file, _encode(batch)),
            )
        return batch

    def get(self, tenant: str, ident: str) -> Batch:
        """Raises UnknownBatchError."""
        with self._database.reading() as db:
            return _find(db, ident, tenant)

    def refreshed(self, batch: Batch) -> Batch:
        """The batch as it is now."""
        return self.get(batch.owner.tenant, batch.id)

    def list(self, tenant: str, limit: int, after: str = "") -> tuple[list[Batch], bool]:
        """At most `limit` batches, the newest first, and whether there are more.

        They end at PAGE_BYTES, but for the first one.
        Raises UnknownBatchError for the id that they are to come after.
        """
        where = "tenant = :tenant"
        if after:
            where += " AND number < (SELECT number FROM batches WHERE id = :after)"
        query = f"SELECT record FROM batches WHERE {where} ORDER BY number DESC LIMIT :rows"
        with self._database.reading() as db:
            if after:
                _find(db, after, tenant)
            values = {"tenant": tenant, "after": after, "rows": limit + 1}
            found: list[Batch] = []
            size = 0
            for (record,) in db.execute(query, values):
                size += len(record)
                if len(found) == limit or (found and size > PAGE_BYTES):
                    return found, True
                found.append(_decode(record))
        return found, False

    def cancel(self, tenant: str, ident: str) -> Batch:
        """Have a batch end; what is done of it is kept. Raises UnknownBatchError, BatchOverError.

        Without effect when it is ending already.
        """
        with self._database.transaction() as db:
            batch = _find(db, ident, tenant)
            if batch.status == "cancelling":
                return batch
            if batch.status not in ("validating", "in_progress"):
                raise BatchOverError(batch.status)
            return self._move(db, batch, "cancelling", ending="cancelled")

    def remove(self, tenant: str, ident: str) -> None:
        """Delete a batch, and the answers that are not in files yet. Raises UnknownBatchError."""
        with self._database.transaction() as db:
            batch = _find(db, ident, tenant)
            self._remove_answers(db, batch)
            db.execute("DELETE FROM batches WHERE id = ?", (ident,))

    def all_open(self) -> tuple[Batch, ...]:
        """The batches that there is something to do for, the oldest first."""
        with self._database.reading() as db:
            rows = db.execute("SELECT record FROM batches WHERE is_open ORDER BY number").fetchall()
        return tuple(_decode(record) for (record,) in rows)

    def begin(self, ident: str, total: int, model: str) -> Batch:
        """It was validated; gives it as it is, which may be `cancelling` by now."""
        return self._move_from("validating", ident, "in_progress", total=total, model=model)

    def end_lines(self, ident: str, ending: Ending) -> Batch:
        """No more answers will come; gives it as it is."""
        return self._move_from("in_progress", ident, "finalizing", ending=ending)

    def fail(self, ident: str, errors: Sequence[LineError]) -> Batch:
        """End it for good, without results."""
        with self._database.transaction() as db:
            batch = _find(db, ident)
            self._remove_answers(db, batch)
            return self._move(db, batch, "failed", errors=[*errors])

    def add_result(
        self, ident: str, line: int, text: bytes, is_failure: bool, tokens: TokenUse
    ) -> bool:
        """Keep the answer to a line, on the disk when this returns. Raises NoRoomError.

        False if it is not wanted: the batch is ending, or the line has an answer.
        """
        with self._database.transaction() as db:
            batch = _find(db, ident)
            if batch.status != "in_progress":
                return False
            self.room.check_answer(db, batch.owner.tenant, len(text))
            added = db.execute(
                "INSERT OR IGNORE INTO results VALUES (?, ?, ?, ?)", (ident, line, is_failure, text)
            ).rowcount
            if added:
                name = "failed" if is_failure else "completed"
                counts = {name: getattr(batch, name) + 1, "tokens": batch.tokens + tokens}
                self._write(db, msgspec.structs.replace(batch, **counts))
        if added:
            self.room.answered(batch.owner.tenant, len(text))
        return bool(added)

    def done_lines(self, ident: str) -> set[int]:
        """The lines that have an answer."""
        with self._database.reading() as db:
            rows = db.execute("SELECT line FROM results WHERE batch = ?", (ident,))
            return {line for (line,) in rows}

    def results(self, ident: str, are_failures: bool) -> Iterator[bytes]:
        """The answers of one kind, in the order of their lines."""
        last = 0
        query = (
            "SELECT line, text FROM results WHERE batch = ? AND is_failure = ? AND line > ? "
            "ORDER BY line LIMIT ?"
        )
        while True:
            with self._database.reading() as db:
                values = (ident, are_failures, last, _CHUNK_LINES)
                rows = db.execute(query, values).fetchall()
            if not rows:
                return
            yield from (text for _, text in rows)
            last = rows[-1][0]

    def finish(self, batch: Batch, output: Draft, errors: Draft) -> Batch:
        """End it, with files of what was written of its answers and synced, if there is any."""
        with self._database.transaction() as db:
            files = {
                "output_file": self._insert(db, batch, output, "output"),
                "error_file": self._insert(db, batch, errors, "error"),
            }
            self._remove_answers(db, batch)
            return self._move(db, _find(db, batch.id), batch.ending, **files)

    def sweep(self) -> None:
        """Delete what has expired."""
        self.files.sweep()
        if ttl := self._settings.ttl_seconds:
            with self._database.transaction() as db:
                db.execute("DELETE FROM batches WHERE ended <= ?", (self.now() - ttl,))

    def path(self, batch: Batch) -> Path:
        """Of its input."""
        return self.files.path(batch.input_file)

    def close(self) -> None:
        """Wait for what is being done, and close it. Nothing may be called later."""
        self._database.close()

    def _insert(self, db: sqlite3.Connection, batch: Batch, draft: Draft, kind: str) -> str:
        """The id of the new file; empty if nothing was written."""
        if not draft.bytes:
            with FAILURES.of_system(draft.path):
                draft.path.unlink()
            return ""
        name, seconds = f"{batch.id}_{kind}.jsonl", batch.output_seconds
        tenant = batch.owner.tenant
        return self.files.insert(db, draft, tenant, name, OUTPUT_PURPOSE, seconds).id

    def _remove_answers(self, db: sqlite3.Connection, batch: Batch) -> None:
        db.execute("DELETE FROM results WHERE batch = ?", (batch.id,))
        self.room.recount_answers(db, batch.owner.tenant)

    def _move_from(self, before: Status, ident: str, status: Status, **changes: Any) -> Batch:
        with self._database.transaction() as db:
            batch = _find(db, ident)
            return self._move(db, batch, status, **changes) if batch.status == before else batch

    def _move(self, db: sqlite3.Connection, batch: Batch, status: Status, **changes: Any) -> Batch:
        times = {**batch.times, status: self.now()}
        moved = msgspec.structs.replace(batch, status=status, times=times, **changes)
        self._write(db, moved)
        return moved

    def _write(self, db: sqlite3.Connection, batch: Batch) -> None:
        is_open = batch.status in OPEN
        ended = None if is_open else batch.times[batch.status]
        db.execute(
            "UPDATE batches SET is_open = ?, ended = ?, record = ? WHERE id = ?",
            (is_open, ended, _encode(batch), batch.id),
        )


def _find(db: sqlite3.Connection, ident: str, tenant: str | None = None) -> Batch:
    row = db.execute("SELECT tenant, record FROM batches WHERE id = ?", (ident,)).fetchone()
    if row is None or tenant not in (None, row[0]):
        raise UnknownBatchError(ident)
    return _decode(row[1])
