"""The store of named states: a real SQLite file and a clock that the test sets."""

import os
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from server.stores.states.records import (
    NewState,
    StatesDamagedError,
    StatesFullError,
    StatesUnavailableError,
    UnknownStateError,
)
from server.stores.states.store import FILE_NAME, NamedStates

ROOM = 1 << 20


class Clock:
    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    store = NamedStates(tmp_path / "states", ROOM, clock)
    yield store
    store.close()


def new(**fields):
    defaults = {"model": "m", "fingerprint": "f", "tokens": 3, "has_logits": True}
    return NewState(**{**defaults, "name": "", "ttl_seconds": 100, "pinned": False, **fields})


def ids(found):
    return [state.id for state in found[0]]


def test_what_is_kept_comes_back_also_after_a_restart(tmp_path, store, clock):
    payload = os.urandom(100_000)
    kept = store.add("t", new(name="Ünï\ncode", pinned=True, has_logits=False), payload)
    assert (kept.bytes, kept.created, kept.used) == (100_000, clock.now, clock.now)
    assert store.get("t", kept.id) == kept
    store.close()
    again = NamedStates(tmp_path / "states", ROOM, clock)
    assert again.read("t", kept.id) == (kept, payload)
    again.close()


def test_only_this_user_may_read_the_file(tmp_path, store):
    store.add("t", new(), b"x")
    folder = tmp_path / "states"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert set(modes) >= {FILE_NAME, f"{FILE_NAME}-wal"}
    assert set(modes.values()) == {0o600}


def test_another_tenant_sees_and_changes_nothing(store):
    mine = store.add("me", new(), b"mine")
    calls = (
        lambda who: store.get(who, mine.id),
        lambda who: store.read(who, mine.id),
        lambda who: store.update(who, mine.id, {"name": "theirs"}),
        lambda who: store.remove(who, mine.id),
        lambda who: store.list(who, 10, after=mine.id),
    )
    for call in calls:
        with pytest.raises(UnknownStateError):
            call("you")
    assert store.list("you", 10) == ([], False)
    assert store.read("me", mine.id) == (mine, b"mine")


def test_a_state_expires_when_it_was_not_used_for_its_ttl(store, clock):
    unused, used = store.add("t", new(), b"a"), store.add("t", new(), b"b")
    pinned = store.add("t", new(pinned=True), b"c")
    eternal = store.add("t", new(ttl_seconds=0), b"d")
    clock.now += 99
    store.read("t", used.id)
    store.get("t", unused.id)  # looking at it is no use
    clock.now += 1
    with pytest.raises(UnknownStateError):
        store.get("t", unused.id)
    with pytest.raises(UnknownStateError):
        store.list("t", 10, after=unused.id)
    assert ids(store.list("t", 10)) == [eternal.id, pinned.id, used.id]
    assert store.get("t", used.id).expires_at == clock.now + 99
    assert pinned.expires_at is eternal.expires_at is None
    clock.now += 10**9
    assert ids(store.list("t", 10)) == [eternal.id, pinned.id]


def test_the_last_use_is_written_coarsely_but_no_state_expires_by_that(store, clock):
    short, long = store.add("t", new(ttl_seconds=10), b"a"), store.add("t", new(), b"b")
    for _ in range(30):
        clock.now += 5
        store.read("t", short.id)
        store.read("t", long.id)
    assert store.get("t", short.id).used == clock.now
    changes = [store.get("t", long.id).used]
    clock.now += 5
    store.read("t", long.id)
    assert [store.get("t", long.id).used] == changes  # 5 s after the one before


def test_update_changes_what_is_named_and_is_a_use(store, clock):
    state = store.add("t", new(name="a"), b"a")
    clock.now += 90
    changed = store.update("t", state.id, {"name": "b", "pinned": True})
    assert (changed.name, changed.pinned, changed.ttl_seconds) == ("b", True, 100)
    clock.now += 1000
    assert store.update("t", state.id, {"pinned": False, "ttl_seconds": 5}).used == clock.now
    assert store.get("t", state.id).expires_at == clock.now + 5


def test_lists_are_paged_in_the_order_of_creation(store):
    made = [store.add("t", new(model="ab"[n % 2], name=str(n // 5)), b"x").id for n in range(10)]
    store.add("other", new(), b"x")
    for newest_first in (True, False):
        expected = made[::-1] if newest_first else made
        seen, after, more = [], "", True
        while more:
            states, more = store.list("t", 3, after, newest_first)
            seen += [state.id for state in states]
            after = seen[-1]
        assert seen == expected
    assert ids(store.list("t", 10, newest_first=False, model="a")) == made[::2]
    assert ids(store.list("t", 10, newest_first=False, name="1")) == made[5:]
    assert ids(store.list("t", 1, made[0], newest_first=False, model="a", name="1")) == [made[6]]


def test_nothing_is_evicted_to_make_room(store, clock):
    old = store.add("t", new(), bytes(ROOM - 10))
    for refused in (
        lambda: store.add("u", new(), bytes(11)),
        lambda: store.check_room("u", 11),
    ):
        with pytest.raises(StatesFullError, match="limit_bytes"):
            refused()
    store.check_room("u", 10)
    fits = store.add("u", new(), bytes(10))
    store.remove("u", fits.id)
    clock.now += 100  # the old one expires
    store.check_room("u", ROOM)
    store.add("u", new(), bytes(ROOM))
    with pytest.raises(UnknownStateError):
        store.get("t", old.id)


def test_what_is_deleted_leaves_the_disk(tmp_path, store):
    def disk():
        return b"".join(path.read_bytes() for path in (tmp_path / "states").iterdir())

    secret = os.urandom(32)
    state = store.add("t", new(name="the name"), secret * 4000)
    assert secret in disk()
    small = len(disk())
    store.remove("t", state.id)
    assert secret not in disk()
    assert b"the name" not in disk()
    assert len(disk()) < small - 100_000


def test_threads_and_a_second_process_share_the_file_and_the_limit(tmp_path, store, clock):
    other = NamedStates(tmp_path / "states", ROOM, clock)

    def add(number):
        try:
            return (store, other)[number % 2].add("t", new(), bytes(ROOM // 8)).id
        except StatesFullError:
            return None

    with ThreadPoolExecutor(4) as pool:
        made = [ident for ident in pool.map(add, range(20)) if ident]
    assert len(made) == 8
    assert sorted(ids(other.list("t", 100))) == sorted(made)
    other.close()


def write(path, statement):
    db = sqlite3.connect(path)
    db.execute(statement)
    db.commit()
    db.close()


def test_a_newer_file_is_refused_and_left_as_it_is(tmp_path, clock):
    path = tmp_path / FILE_NAME
    NamedStates(tmp_path, ROOM, clock).close()
    write(path, "PRAGMA user_version = 2")
    before = path.read_bytes()
    with pytest.raises(StatesDamagedError, match=r"named\.sqlite: has schema version 2") as caught:
        NamedStates(tmp_path, ROOM, clock)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_a_file_of_something_else_is_refused(tmp_path, clock):
    write(tmp_path / FILE_NAME, "CREATE TABLE mine (a)")
    with pytest.raises(StatesDamagedError, match="schema version 0"):
        NamedStates(tmp_path, ROOM, clock)


@pytest.mark.parametrize("damage", ["text", "a page", "cut"])
def test_a_damaged_file_is_refused_with_what_to_do(tmp_path, clock, damage):
    path = tmp_path / FILE_NAME
    store = NamedStates(tmp_path, ROOM, clock)
    for _ in range(50):
        store.add("t", new(), bytes(1000))
    store.close()
    data = bytearray(path.read_bytes())
    page = 16 * 1024
    if damage == "text":
        data = bytearray(b"not a database " * 100)
    elif damage == "a page":
        data[page:] = b"\xff" * len(data[page:])
    else:
        del data[page:]
    path.write_bytes(data)
    with pytest.raises(StatesDamagedError, match=r"named\.sqlite: damaged .* move it away"):
        NamedStates(tmp_path, ROOM, clock)
    assert path.read_bytes()[100:] == data[100:]  # but for SQLite's header all is as it was


def test_a_folder_that_cannot_be_made_is_named(tmp_path, clock):
    (tmp_path / "file").write_text("")
    with pytest.raises(StatesUnavailableError, match="file/states") as caught:
        NamedStates(tmp_path / "file" / "states", ROOM, clock)
    assert not isinstance(caught.value, StatesDamagedError)


def test_a_full_disk_is_no_room_and_reading_goes_on(tmp_path, clock):
    store = NamedStates(tmp_path, ROOM, clock)
    state = store.add("t", new(), b"a")
    store._file._db.execute("PRAGMA max_page_count = 20")
    with pytest.raises(StatesFullError, match="disk is full"):
        store.add("t", new(), bytes(ROOM // 2))
    assert store.read("t", state.id) == (state, b"a")
    assert ids(store.list("t", 10)) == [state.id]
    store.add("t", new(), b"b")
    store.close()
