"""Files of tenants on a real disk: found by their owner, bounded, gone when they expire."""

import io
from pathlib import Path

import pytest

from server.stores.batches.database import FILE_NAME
from server.stores.batches.records import (
    BatchesDamagedError,
    BatchesUnavailableError,
    NoRoomError,
    UnknownFileError,
)
from tests.batches.stored import FakeTime, add_batch, add_file, open_store


def names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "files").iterdir()}


def test_a_file_is_kept_under_a_name_of_ours_and_outlives_the_store(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    file = add_file(store, b"content", name="../../etc/passwd")
    assert (file.name, file.bytes) == ("../../etc/passwd", 7)
    assert names(tmp_path) == {file.id}
    store.close()
    again = open_store(tmp_path)
    found, source = again.files.open("me", file.id)
    with source:
        assert (found, source.read()) == (file, b"content")
    for path in tmp_path.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    again.close()


def test_another_tenant_has_no_such_file(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    file = add_file(store, b"x")
    for attempt in (store.files.get, store.files.open, store.files.remove):
        with pytest.raises(UnknownFileError):
            attempt("they", file.id)
    assert store.files.list("they", 9) == ([], False)
    with pytest.raises(UnknownFileError):
        store.files.list("they", 9, after=file.id)
    store.close()


def test_a_removed_file_leaves_the_disk_and_makes_room(tmp_path: Path) -> None:
    store = open_store(tmp_path, limit_bytes=10)
    file = add_file(store, b"x" * 8)
    with pytest.raises(NoRoomError, match=r"batches\.limit_bytes = 10"):
        store.begin_upload("me", 3)
    store.files.remove("me", file.id)
    assert names(tmp_path) == set()
    with pytest.raises(UnknownFileError):
        store.files.get("me", file.id)
    store.begin_upload("me", 10)
    store.close()


def test_what_has_come_of_an_upload_counts_until_it_is_there(tmp_path: Path) -> None:
    store = open_store(tmp_path, limit_bytes=10)
    for _ in range(3):
        store.begin_upload("me", 10)  # what is announced counts nothing
    store.room.grow_upload("me", 6)
    with pytest.raises(NoRoomError):
        store.room.grow_upload("me", 5)
    with pytest.raises(NoRoomError):
        store.begin_upload("they", 5)
    store.begin_upload("they", 4)
    store.room.end_upload("me", 6)
    store.room.grow_upload("me", 5)
    store.close()


def test_uploads_that_are_under_way_count_as_files(tmp_path: Path) -> None:
    store = open_store(tmp_path, max_files=2)
    store.begin_upload("me", 0)
    store.begin_upload("they", 0)
    with pytest.raises(NoRoomError, match=r"there are 2 files, of batches\.max_files = 2"):
        store.begin_upload("me", 0)
    store.room.end_upload("they", 0)
    store.begin_upload("me", 0)
    store.close()


def test_there_are_only_so_many_files(tmp_path: Path) -> None:
    store = open_store(tmp_path, max_files=2)
    for tenant in ("me", "they"):
        add_file(store, b"", tenant)
    with pytest.raises(NoRoomError, match=r"batches\.max_files = 2"):
        store.begin_upload("me", 0)
    store.close()


def test_files_expire_when_they_say_or_as_all_do(tmp_path: Path) -> None:
    now = FakeTime()
    store = open_store(tmp_path, now, ttl_seconds=100)
    soon, late = add_file(store, b"x", seconds=50), add_file(store, b"x")
    now.seconds += 50
    with pytest.raises(UnknownFileError):
        store.files.get("me", soon.id)
    assert store.files.list("me", 9) == ([late], False)
    assert len(names(tmp_path)) == 2
    store.sweep()
    assert names(tmp_path) == {late.id}
    store.close()
    now.seconds += 50
    open_store(tmp_path, now).close()
    assert names(tmp_path) == set()


def test_files_without_an_end_stay(tmp_path: Path) -> None:
    now = FakeTime()
    store = open_store(tmp_path, now, ttl_seconds=0)
    file = add_file(store, b"x")
    assert file.expires is None
    now.seconds += 1e9
    store.sweep()
    assert store.files.get("me", file.id) == file
    store.close()


def test_an_expired_file_stays_while_a_batch_reads_it(tmp_path: Path) -> None:
    now = FakeTime()
    store = open_store(tmp_path, now, ttl_seconds=100)
    batch = add_batch(store, 1)
    now.seconds += 100
    store.sweep()
    assert store.path(batch).exists()
    store.fail(batch.id, [])
    store.sweep()
    assert names(tmp_path) == set()
    store.close()


def test_pages_in_both_orders_and_of_one_purpose(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    files = [add_file(store, b"x", purpose="batch" if n % 2 else "vision") for n in range(5)]
    assert store.files.list("me", 3, newest_first=False) == (files[:3], True)
    assert store.files.list("me", 3, files[2].id, newest_first=False) == (files[3:], False)
    assert store.files.list("me", 2, files[3].id) == ([files[2], files[1]], True)
    assert store.files.list("me", 9, purpose="vision") == (files[::-2], False)
    store.close()


def test_what_was_not_whole_when_the_server_was_killed_is_removed(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    file = add_file(store, b"x")
    torn = tmp_path / "files" / f"file-{'0' * 32}"
    foreign = tmp_path / "files" / "notes.txt"
    torn.write_bytes(b"half of")
    foreign.write_bytes(b"not ours")
    store.close()
    open_store(tmp_path).close()
    assert names(tmp_path) == {file.id, "notes.txt"}


def test_a_source_that_fails_leaves_nothing(tmp_path: Path) -> None:
    class Torn(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise OSError("torn")

    store = open_store(tmp_path)
    with pytest.raises(BatchesUnavailableError, match="torn"):
        store.files.add("me", "a", "batch", Torn())
    assert names(tmp_path) == set()
    store.close()


@pytest.mark.parametrize("content", [b"no database " * 1000, None])
def test_a_damaged_or_foreign_database_is_left_as_it_is(
    tmp_path: Path, content: bytes | None
) -> None:
    store = open_store(tmp_path)
    if content is None:
        with store._database.transaction() as db:
            db.execute("PRAGMA user_version = 99")
    store.close()
    path = tmp_path / FILE_NAME
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BatchesDamagedError, match=f"^{path}: "):
        open_store(tmp_path)
    if content is not None:
        assert path.read_bytes() == content


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BatchesUnavailableError, match="file"):
        open_store(tmp_path / "file")
