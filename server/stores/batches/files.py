"""The files of all tenants: bytes under names of ours in a folder, the rest in the database."""

import contextlib
import os
import re
import secrets
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from server.config_stores import BatchesSettings
from server.stores.batches.database import FAILURES, Database
from server.stores.batches.records import FileInUseError, StoredFile, UnknownFileError

_COLUMNS = "id, name, purpose, bytes, created, expires"
_IN_USE = "id IN (SELECT input_file FROM batches WHERE is_open)"
_ALIVE = f"(expires IS NULL OR expires > :now OR {_IN_USE})"
_OURS = re.compile(r"file-[0-9a-f]{32}")


class Draft:
    """A file that is being written. Without a row in the database it does not exist."""

    def __init__(self, folder: Path) -> None:
        self.id = f"file-{secrets.token_hex(16)}"
        self.path = folder / self.id
        with FAILURES.of_system(self.path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self.file = os.fdopen(os.open(self.path, flags, 0o600), "wb")

    @property
    def bytes(self) -> int:
        """How many there are so far."""
        return self.file.tell()

    def sync(self) -> None:
        """Bring it to the disk, with its name."""
        self.file.flush()
        os.fsync(self.file.fileno())
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class Files:
    """Every method may be called from any thread and waits for the disk.

    Besides what it names, each raises BatchesUnavailableError.
    """

    def __init__(
        self,
        database: Database,
        folder: Path,
        settings: BatchesSettings,
        now: Callable[[], float],
    ) -> None:
        """`folder` is made; what a server left there that was killed while it wrote is removed."""
        self._database = database
        self.folder = folder
        """For bytes, also of what is only being uploaded."""
        self._settings = settings
        self._now = now
        with FAILURES.of_system(folder):
            folder.mkdir(mode=0o700, exist_ok=True)
        self._remove_drafts()

    def add(
        self, tenant: str, name: str, purpose: str, source: BinaryIO, seconds: int | None = None
    ) -> StoredFile:
        """Keep what `source` has left to read; it is on the disk when this returns.

        It expires after so many seconds, or as all do. Raises NoRoomError when the disk is full.
        """
        with self.draft() as draft:
            with FAILURES.of_system(draft.path):
                shutil.copyfileobj(source, draft.file, 1 << 20)
                draft.sync()
            with self._database.transaction() as db:
                return self.insert(db, draft, tenant, name, purpose, seconds)

    @contextlib.contextmanager
    def draft(self) -> Iterator[Draft]:
        """A new file to write into; it is removed if an exception is raised inside."""
        draft = Draft(self.folder)
        try:
            yield draft
        except BaseException:
            draft.path.unlink(missing_ok=True)
            raise
        finally:
            draft.file.close()

    def insert(
        self,
        db: sqlite3.Connection,
        draft: Draft,
        tenant: str,
        name: str,
        purpose: str,
        seconds: int | None,
    ) -> StoredFile:
        """Make what was synced a file of the tenant, in a transaction of the caller's."""
        created = self._now()
        lifetime = self._settings.ttl_seconds if seconds is None else seconds
        file = StoredFile(
            id=draft.id,
            name=name,
            purpose=purpose,
            bytes=draft.bytes,
            created=created,
            expires=created + lifetime if lifetime else None,
        )
        db.execute(
            f"INSERT INTO files ({_COLUMNS}, tenant) VALUES "
            "(:id, :name, :purpose, :bytes, :created, :expires, :tenant)",
            {**msgspec.structs.asdict(file), "tenant": tenant},
        )
        return file

    def get(self, tenant: str, ident: str) -> StoredFile:
        """Raises UnknownFileError."""
        with self._database.reading() as db:
            return self.find(db, tenant, ident)

    def find(self, db: sqlite3.Connection, tenant: str, ident: str) -> StoredFile:
        """The same, with a connection of the caller's."""
        row = db.execute(
            f"SELECT {_COLUMNS} FROM files WHERE tenant = :tenant AND id = :id AND {_ALIVE}",
            {"tenant": tenant, "id": ident, "now": self._now()},
        ).fetchone()
        if row is None:
            raise UnknownFileError(ident)
        return _stored(row)

    def open(self, tenant: str, ident: str) -> tuple[StoredFile, BinaryIO]:
        """A file, and its bytes to read, which stay when it is deleted. Raises UnknownFileError."""
        found = self.get(tenant, ident)
        with FAILURES.of_system(self.path(found.id)):
            return found, self.path(found.id).open("rb")

    def path(self, ident: str) -> Path:
        """Where the bytes of a file are."""
        return self.folder / ident

    def list(
        self,
        tenant: str,
        limit: int,
        after: str = "",
        newest_first: bool = True,
        purpose: str = "",
    ) -> tuple[list[StoredFile], bool]:
        """At most `limit` files by creation, and whether there are more.

        Raises UnknownFileError for the id that they are to come after.
        """
        where = f"tenant = :tenant AND {_ALIVE}"
        if after:
            comparison = "<" if newest_first else ">"
            where += f" AND number {comparison} (SELECT number FROM files WHERE id = :after)"
        if purpose:
            where += " AND purpose = :purpose"
        order = "DESC" if newest_first else "ASC"
        query = f"SELECT {_COLUMNS} FROM files WHERE {where} ORDER BY number {order} LIMIT :rows"
        values = {"tenant": tenant, "now": self._now(), "rows": limit + 1}
        with self._database.reading() as db:
            if after:
                self.find(db, tenant, after)
            rows = db.execute(query, {**values, "after": after, "purpose": purpose}).fetchall()
        return [_stored(row) for row in rows[:limit]], len(rows) > limit

    def remove(self, tenant: str, ident: str) -> None:
        """Delete a file. Raises UnknownFileError and FileInUseError."""
        with self._database.transaction() as db:
            found = self.find(db, tenant, ident)
            reader = db.execute(
                "SELECT id FROM batches WHERE is_open AND input_file = ?", (found.id,)
            ).fetchone()
            if reader is not None:
                raise FileInUseError(reader[0])
            db.execute("DELETE FROM files WHERE id = ?", (found.id,))
        self._unlink(found.id)

    def sweep(self) -> None:
        """Delete what has expired."""
        with self._database.transaction() as db:
            gone = db.execute(
                f"DELETE FROM files WHERE NOT {_ALIVE} RETURNING id", {"now": self._now()}
            ).fetchall()
        for (ident,) in gone:
            self._unlink(ident)

    def _unlink(self, ident: str) -> None:
        with FAILURES.of_system(self.path(ident)):
            self.path(ident).unlink(missing_ok=True)

    def _remove_drafts(self) -> None:
        with self._database.reading() as db:
            known = {ident for (ident,) in db.execute("SELECT id FROM files")}
        with FAILURES.of_system(self.folder):
            names = [path.name for path in self.folder.iterdir()]
        for name in names:
            if _OURS.fullmatch(name) and name not in known:
                self._unlink(name)


def _stored(row: tuple[object, ...]) -> StoredFile:
    return msgspec.convert(dict(zip(_COLUMNS.split(", "), row, strict=True)), StoredFile)
