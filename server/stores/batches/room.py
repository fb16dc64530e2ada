"""How much room there is for files and answers, and how much of it one tenant may take."""

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable

from server.config_stores import BatchesSettings
from server.stores.batches.database import Database
from server.stores.batches.records import NoRoomError


class Room:
    """Counts what is kept and what is being uploaded; every method may be called from any thread.

    A tenant has limits of its own, or, when the server is shared, may take no more than it leaves
    to others: half if it is alone, a third if two do. Answers to the lines of batches count for
    their tenants as files do, but for a limit that the settings name they count as files only.
    """

    def __init__(self, database: Database, settings: BatchesSettings) -> None:
        self.is_shared: Callable[[], bool] = lambda: False
        self._database = database
        self._settings = settings
        self._lock = threading.Lock()
        self._uploads = Counter[str]()
        self._uploaded = Counter[str]()
        """Bytes of uploads that have come so far."""
        with database.reading() as db:
            query = (
                "SELECT tenant, total(length(text)) FROM results JOIN batches ON id = batch "
                "GROUP BY tenant"
            )
            self._answers = Counter({tenant: int(size) for tenant, size in db.execute(query)})

    def begin_upload(self, tenant: str, size: int) -> None:
        """One more file, announced with so many bytes, comes until end_upload().

        Nothing is kept for those bytes before they come. Raises NoRoomError.
        """
        with self._database.reading() as db, self._lock:
            self._check_number(db, tenant, "files", self._uploads)
            self._check_bytes(db, tenant, size)
            self._uploads[tenant] += 1

    def grow_upload(self, tenant: str, size: int) -> None:
        """So many bytes more come. Raises NoRoomError."""
        with self._database.reading() as db, self._lock:
            self._check_bytes(db, tenant, size)
            self._uploaded[tenant] += size

    def end_upload(self, tenant: str, size: int) -> None:
        """The file is there, or will not come; so many bytes of it had come."""
        with self._lock:
            self._uploads -= Counter({tenant: 1})
            self._uploaded -= Counter({tenant: size})

    def check_batches(self, db: sqlite3.Connection, tenant: str) -> None:
        """Raises NoRoomError when the tenant may have no further batch."""
        with self._lock:
            self._check_number(db, tenant, "batches", Counter())

    def check_answer(self, db: sqlite3.Connection, tenant: str, size: int) -> None:
        """Raises NoRoomError when an answer of so many bytes has to wait."""
        with self._lock:
            held = self._check_total(db, size)
            if not self._settings.tenant_limit_bytes:
                self._check_share(db, tenant, size, held)

    def answered(self, tenant: str, size: int) -> None:
        """An answer was kept."""
        with self._lock:
            self._answers[tenant] += size

    def recount_answers(self, db: sqlite3.Connection, tenant: str) -> None:
        """Answers of the tenant were removed."""
        query = (
            "SELECT total(length(text)) FROM results WHERE batch IN "
            "(SELECT id FROM batches WHERE tenant = ?)"
        )
        (size,) = db.execute(query, (tenant,)).fetchone()
        with self._lock:
            self._answers[tenant] = int(size)
            self._answers += Counter()  # without those that have none

    def _check_number(
        self, db: sqlite3.Connection, tenant: str, table: str, coming: Counter[str]
    ) -> None:
        most, own_most = self._settings.max_files, self._settings.tenant_max_files
        query = f"SELECT count(*), total(tenant = ?) FROM {table}"
        count, own = db.execute(query, (tenant,)).fetchone()
        count, own = count + coming.total(), int(own) + coming[tenant]
        if count >= most:
            raise NoRoomError(
                f"there are {count} {table}, of batches.max_files = {most}; delete others first"
            )
        if own_most and own >= own_most:
            raise NoRoomError(
                f"you have {own} {table}, of batches.tenant_max_files = {own_most}; "
                "delete some first"
            )
        if not own_most and self.is_shared() and own >= most - count:
            raise NoRoomError(
                f"you have {own} {table}, and {most - count} are left to all others "
                f"(batches.max_files = {most}); delete some first"
            )

    def _check_bytes(self, db: sqlite3.Connection, tenant: str, size: int) -> None:
        held, limit = self._check_total(db, size), self._settings.tenant_limit_bytes
        if not limit:
            self._check_share(db, tenant, size, held)
        elif _bytes_of(db, tenant) + self._uploaded[tenant] + size > limit:
            raise NoRoomError(
                f"{size} bytes more would exceed batches.tenant_limit_bytes = {limit}; "
                "delete files first"
            )

    def _check_total(self, db: sqlite3.Connection, size: int) -> int:
        """Gives what there is already."""
        (held,) = db.execute("SELECT bytes FROM held").fetchone()
        held, limit = int(held) + self._uploaded.total(), self._settings.limit_bytes
        if held + size > limit:
            raise NoRoomError(
                f"{size} bytes more would exceed batches.limit_bytes = {limit}; delete files first"
            )
        return held

    def _check_share(self, db: sqlite3.Connection, tenant: str, size: int, held: int) -> None:
        if not self.is_shared():
            return
        own = _bytes_of(db, tenant) + self._answers[tenant] + self._uploaded[tenant]
        left = self._settings.limit_bytes - held
        if own + size > left - size:
            raise NoRoomError(
                f"you have {own} bytes, and {size} more would leave less than that to all others "
                f"(batches.limit_bytes = {self._settings.limit_bytes}); delete files first"
            )


def _bytes_of(db: sqlite3.Connection, tenant: str) -> int:
    query = "SELECT total(bytes) FROM files WHERE tenant = ?"
    return int(db.execute(query, (tenant,)).fetchone()[0])
