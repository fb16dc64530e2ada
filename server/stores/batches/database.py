"""The SQLite database of files and batches: opened by one server at a time."""

import fcntl
import os
from pathlib import Path

from server.stores.batches.records import (
    BatchesDamagedError,
    BatchesUnavailableError,
    DiskFullError,
)
from server.stores.sqlite import Failures, Schema, StoreFile

FILE_NAME = "batches.sqlite"
SCHEMA_VERSION = 1

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
)


FAILURES = Failures(
    DiskFullError,
    BatchesDamagedError,
    BatchesUnavailableError,
    setting="batches.directory",
    content="files and batches",
)


class Database(StoreFile):
    """The file, which one server uses at a time.

    Everything raises BatchesUnavailableError, and NoRoomError when the disk is full.
    """

    def __init__(self, folder: Path) -> None:
        """Open or make it. Raises BatchesDamagedError for what cannot be one of ours."""
        path = folder / FILE_NAME
        with FAILURES.of_system(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._server_lock = os.open(
                path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        try:
            self._take_server_lock(path)
            super().__init__(path, Schema(SCHEMA_VERSION, _SCHEMA), FAILURES)
        except BaseException:
            os.close(self._server_lock)
            raise

    def close(self) -> None:
        """Wait for what is being done, and close it. Nothing may be called later."""
        super().close()
        os.close(self._server_lock)

    def _take_server_lock(self, path: Path) -> None:
        # Two servers would compute every batch twice. The lock ends with the process.
        try:
            fcntl.flock(self._server_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BatchesUnavailableError(f"{path}: another server uses it") from None
