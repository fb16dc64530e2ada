"""The share that one tenant may have of the room for files and batches."""

from pathlib import Path

import pytest

from server.stores.batches.records import NoRoomError, TokenUse
from server.stores.batches.store import BatchStore
from tests.batches.stored import FakeTime, add_batch, add_file, open_store


def test_a_tenants_bytes_are_bounded_and_others_have_room(tmp_path: Path) -> None:
    store = open_store(tmp_path, tenant_limit_bytes=10)
    file = add_file(store, b"x" * 6)
    store.room.grow_upload("me", 3)
    with pytest.raises(NoRoomError, match=r"batches\.tenant_limit_bytes = 10"):
        store.room.grow_upload("me", 2)
    store.room.grow_upload("they", 10)
    store.room.end_upload("me", 3)
    store.room.grow_upload("me", 4)
    store.room.end_upload("me", 4)
    store.files.remove("me", file.id)
    store.begin_upload("me", 10)
    store.close()


def test_a_tenants_files_are_bounded_until_one_goes(tmp_path: Path) -> None:
    now = FakeTime()
    store = open_store(tmp_path, now, tenant_max_files=2)
    add_file(store, b"a")
    add_file(store, b"b", seconds=3600)
    with pytest.raises(NoRoomError, match=r"batches\.tenant_max_files = 2"):
        store.begin_upload("me", 1)
    store.begin_upload("they", 1)
    now.seconds += 3600
    store.begin_upload("me", 1)
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


def shared(folder: Path, **settings: int) -> BatchStore:
    store = open_store(folder, **settings)
    store.room.is_shared = lambda: True
    return store


def test_a_tenant_of_a_shared_server_takes_no_more_bytes_than_it_leaves(tmp_path: Path) -> None:
    store = shared(tmp_path, limit_bytes=120)
    for tenant, most in (("A", 60), ("B", 30), ("C", 15)):
        for _ in range(most):
            store.begin_upload(tenant, 1)
            store.room.end_upload(tenant, 0)
            add_file(store, b"x", tenant)
        with pytest.raises(NoRoomError, match="to all others"):
            store.begin_upload(tenant, 1)
    store.begin_upload("quiet", 7)
    store.room.is_shared = lambda: False
    store.begin_upload("A", 15)
    store.close()


def test_those_that_come_together_share_evenly_and_leave_as_much(tmp_path: Path) -> None:
    store = shared(tmp_path, limit_bytes=120)
    kept = {"A": 0, "B": 0, "C": 0}
    for _ in range(120):
        for tenant in kept:
            try:
                store.room.grow_upload(tenant, 1)
            except NoRoomError:
                continue
            kept[tenant] += 1
    assert kept == {"A": 30, "B": 30, "C": 30}
    store.close()


def test_a_tenant_of_a_shared_server_takes_no_more_files_than_it_leaves(tmp_path: Path) -> None:
    store = shared(tmp_path, max_files=8)
    for _ in range(4):
        store.begin_upload("A", 0)
    with pytest.raises(NoRoomError, match="you have 4 files, and 4 are left to all others"):
        store.begin_upload("A", 0)
    store.begin_upload("B", 0)
    store.close()
    alone = shared(tmp_path / "alone", max_files=1)
    alone.begin_upload("A", 0)
    alone.close()


def test_a_tenant_of_a_shared_server_has_no_more_batches_than_it_leaves(tmp_path: Path) -> None:
    store = shared(tmp_path, max_files=4)
    for _ in range(2):
        add_batch(store, 1)
    with pytest.raises(NoRoomError, match="you have 2 batches, and 2 are left"):
        add_batch(store, 1)
    add_batch(store, 1, "they")
    store.close()


def test_answers_count_for_their_tenant_until_they_are_removed(tmp_path: Path) -> None:
    store = shared(tmp_path, limit_bytes=10_000)
    batch = add_batch(store, 3)
    store.begin(batch.id, 3, "")
    text = b"x" * 2000
    assert store.add_result(batch.id, 1, text, False, TokenUse())
    assert store.add_result(batch.id, 2, text, False, TokenUse())
    with pytest.raises(NoRoomError, match="to all others"):
        store.add_result(batch.id, 3, text, False, TokenUse())
    store.begin_upload("they", 2000)
    store.close()
    store = shared(tmp_path, limit_bytes=10_000)  # counted again
    with pytest.raises(NoRoomError, match="to all others"):
        store.begin_upload("me", 1500)
    store.remove("me", batch.id)
    store.begin_upload("me", 1500)
    store.close()


def test_what_is_there_stays_when_limits_are_lowered(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    files = [add_file(store, b"x" * 10) for _ in range(3)]
    store.close()
    store = shared(tmp_path, limit_bytes=10, max_files=1)
    assert [file.id for file in store.files.list("me", 9)[0]] == [each.id for each in files[::-1]]
    with pytest.raises(NoRoomError):
        store.begin_upload("they", 0)
    store.close()
