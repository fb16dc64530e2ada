"""Databases that are damaged, of another version, away, or without a driver: one line says so."""

import sqlite3
import stat
import sys

import pytest
from sqlalchemy import update

from server.stores.responses.database import FILE_NAME, open_postgres, open_sqlite
from server.stores.responses.records import StoreDamagedError, StoreUnavailableError
from server.stores.responses.tables import version
from tests.stores.responses.turns import add, history


def test_another_version_is_refused_with_what_to_do(stores):
    with stores.database.transaction() as db:
        db.execute(update(version).values(version=9))
    with pytest.raises(StoreDamagedError, match="has schema version 9, expected 1; start the"):
        stores.open_database().open()


def test_a_damaged_file_is_refused_with_what_to_do(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"no database " * 1000)
    with pytest.raises(StoreDamagedError, match=r"responses\.sqlite: damaged .* move it away"):
        open_sqlite(tmp_path).open()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailableError, match="file"):
        open_sqlite(tmp_path / "file" / "folder")


@pytest.mark.parametrize("stores", ["sqlite"], indirect=True)
def test_the_file_is_for_its_user_alone_and_forgets_what_is_removed(tmp_path, stores):
    add(stores, "one", "a secret " * 100)
    files = list(tmp_path.glob(f"{FILE_NAME}*"))
    assert len(files) > 1
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert any(b"a secret" in file.read_bytes() for file in files)
    stores.responses.remove("me", "one")
    assert not any(b"a secret" in file.read_bytes() for file in files)


def test_a_file_that_somebody_else_writes_is_waited_for_and_then_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("server.stores.responses.database._BUSY_SECONDS", 0.05)
    database = open_sqlite(tmp_path)
    database.open()
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailableError, match="locked"), database.transaction():
        pass
    other.execute("ROLLBACK")
    with database.transaction():
        pass
    other.close()
    database.close()


@pytest.mark.parametrize("stores", ["postgres"], indirect=True)
def test_a_server_that_was_away_is_found_again(postgres, stores):
    add(stores, "one", "a")
    postgres.stop()
    try:
        with pytest.raises(StoreUnavailableError):
            history(stores, "one")
    finally:
        postgres.start()
    assert history(stores, "one") == ["a", "ok"]


def test_errors_do_not_tell_the_password(tmp_path):
    database = open_postgres(f"postgresql://me:secret@/db?host={tmp_path}")
    with pytest.raises(StoreUnavailableError) as failure:
        database.open()
    assert "secret" not in str(failure.value)
    assert str(failure.value).startswith("postgresql:///db: ")
    with pytest.raises(StoreUnavailableError, match="not a URL of a database"):
        open_postgres("postgresql://me:secret@host:port/db")


def test_without_its_driver(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreUnavailableError, match=r"pip install 'rwkv-server\[postgres\]'"):
        open_postgres("postgresql://host/db")
