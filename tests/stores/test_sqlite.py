"""Files of users' data: new ones, those of earlier and later versions, and what is none."""

import sqlite3
import stat
import threading

import pytest

from server.stores.sqlite import Failures, Schema, StoreFile


class FullError(Exception):
    pass


class DamagedError(Exception):
    pass


class UnavailableError(Exception):
    pass


FAILURES = Failures(FullError, DamagedError, UnavailableError, "a.directory", "things")
FIRST = Schema(1, ["CREATE TABLE things (name TEXT)"])
THIRD = Schema(
    3,
    ["CREATE TABLE things (name TEXT, size INTEGER, kind TEXT)"],
    {
        1: ["ALTER TABLE things ADD COLUMN size INTEGER DEFAULT 7"],
        2: ["ALTER TABLE things ADD COLUMN kind TEXT", "UPDATE things SET kind = 'old'"],
    },
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "things.sqlite"


def rows(file):
    with file.reading() as db:
        return db.execute("SELECT * FROM things ORDER BY name").fetchall()


def keep(file, *values):
    with file.transaction() as db:
        marks = ", ".join("?" * len(values))
        db.execute(f"INSERT INTO things VALUES ({marks})", values)


def keep_both(file, first, second):
    with file.transaction() as db:
        db.execute("INSERT INTO things VALUES (?)", (first,))
        if second is None:
            raise ValueError("there is none")
        db.execute("INSERT INTO things VALUES (?)", (second,))


def test_what_is_kept_is_there_again_and_for_this_user_alone(path):
    for number in range(2):
        file = StoreFile(path, FIRST, FAILURES)
        keep(file, f"thing {number}")
        assert rows(file) == [(f"thing {n}",) for n in range(number + 1)]
        file.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_of_an_earlier_version_is_upgraded_step_by_step(path):
    file = StoreFile(path, FIRST, FAILURES)
    keep(file, "a")
    file.close()
    for _ in range(2):
        file = StoreFile(path, THIRD, FAILURES)
        assert rows(file) == [("a", 7, "old")]
        file.close()


def test_an_upgrade_that_fails_leaves_the_file_as_it_was(path):
    file = StoreFile(path, FIRST, FAILURES)
    keep(file, "a")
    file.close()
    broken = Schema(3, THIRD.statements, THIRD.upgrades | {2: ["UPDATE gone SET x = 1"]})
    with pytest.raises(UnavailableError, match="no such table: gone"):
        StoreFile(path, broken, FAILURES)
    file = StoreFile(path, FIRST, FAILURES)
    assert rows(file) == [("a",)]
    file.close()


@pytest.mark.parametrize(
    ("schema", "line"),
    [
        (FIRST, "has schema version 3, expected 1; start the version of the server that wrote it"),
        (Schema(5, FIRST.statements, {4: []}), "has schema version 3, expected 5"),
    ],
)
def test_a_version_that_nobody_knows_is_not_touched(path, schema, line):
    StoreFile(path, THIRD, FAILURES).close()
    before = path.read_bytes()
    with pytest.raises(DamagedError, match=f"{line}.*a.directory"):
        StoreFile(path, schema, FAILURES)
    assert path.read_bytes() == before


def test_tables_of_somebody_else_are_not_touched(path):
    path.parent.mkdir()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (x)")
    with pytest.raises(DamagedError, match="has schema version 0"):
        StoreFile(path, FIRST, FAILURES)


def test_what_is_no_database(path):
    path.parent.mkdir()
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(DamagedError, match=r"damaged .*begin without things"):
        StoreFile(path, FIRST, FAILURES)


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="file"):
        StoreFile(tmp_path / "file" / "things.sqlite", FIRST, FAILURES)


def test_a_full_disk_keeps_nothing_of_a_transaction(path):
    file = StoreFile(path, FIRST, FAILURES)
    keep(file, "a")
    with file.reading() as db:
        db.execute("PRAGMA max_page_count = 4")
    with pytest.raises(FullError, match="the disk is full"):
        keep_both(file, "b", "x" * 100_000)
    assert rows(file) == [("a",)]
    file.close()


def test_another_error_inside_keeps_nothing_and_is_raised_as_it_is(path):
    file = StoreFile(path, FIRST, FAILURES)
    with pytest.raises(ValueError, match="none"):
        keep_both(file, "b", None)
    assert rows(file) == []
    file.close()


def test_threads_wait_for_one_another(path):
    file = StoreFile(path, FIRST, FAILURES)
    threads = [threading.Thread(target=keep, args=(file, f"{n:02}")) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows(file) == [(f"{n:02}",) for n in range(20)]
    file.close()


def test_several_may_open_a_new_file_at_once(path):
    """As two servers do that start together: one makes the tables, the other finds them."""
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(StoreFile(path, FIRST, FAILURES)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for file in found:
        file.close()
