"""The share that one tenant may have of the room for files and batches."""

from pathlib import Path

import pytest

from server.batches.records import NoRoomError
from tests.batches.stored import FakeTime, add_batch, add_file, open_store


def test_a_tenants_bytes_are_bounded_and_others_have_room(tmp_path: Path) -> None:
    store = open_store(tmp_path, tenant_limit_bytes=10)
    file = add_file(store, b"x" * 6)
    store.files.reserve("me", 3)  # an upload under way
    with pytest.raises(NoRoomError, match=r"batches\.tenant_limit_bytes = 10"):
        store.files.reserve("me", 2)
    store.files.reserve("they", 10)
    store.files.release("me", 3)
    store.files.reserve("me", 4)
    store.files.release("me", 4)
    store.files.remove("me", file.id)
    store.files.reserve("me", 10)
    store.close()


def test_a_tenants_files_are_bounded_until_one_goes(tmp_path: Path) -> None:
    now = FakeTime()
    store = open_store(tmp_path, now, tenant_max_files=2)
    add_file(store, b"a")
    add_file(store, b"b", seconds=3600)
    with pytest.raises(NoRoomError, match=r"batches\.tenant_max_files = 2"):
        store.files.reserve("me", 1)
    store.files.reserve("they", 1)
    now.seconds += 3600
    store.files.reserve("me", 1)
    store.close()


def test_a_tenants_batches_are_bounded_and_those_of_others_do_not_count(tmp_path: Path) -> None:
    store = open_store(tmp_path, tenant_max_files=2)
    for _ in range(2):
        add_batch(store, 1)
    with pytest.raises(NoRoomError, match=r"you have 2 batches"):
        add_batch(store, 1)
    assert add_batch(store, 1, tenant="they").status == "validating"
    assert len(store.list("me", 9)[0]) == 2
    store.close()
