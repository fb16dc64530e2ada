"""The file on disk: its budget, and what it survives."""

import logging
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing, contextmanager

import pytest

from server.state_cache.disk_store import DiskStore
from server.state_cache.encoding import decode_snapshot
from server.state_cache.keys import space_of
from server.state_cache.sqlite_file import SCHEMA_VERSION, WAL_BYTES
from server.state_cache.store import StoreUnavailable
from tests.state_cache.stored import SHAPES, VOCABULARY

SPACE = space_of("model", "")
LIMIT = 16 << 20
SIZE = 1_200_000


@contextmanager
def opened(folder, limit=LIMIT, **options):
    store = DiskStore(folder, limit, **options)
    try:
        yield store
    finally:
        store.close()


def write(store, number, size=SIZE):
    return store.write(
        SPACE, number.to_bytes(16, "big"), number, False, bytes([number % 256]) * size
    )


def fill(store):
    for number in range(1, 100):
        write(store, number)


def kept(store, numbers):
    keys = {n.to_bytes(16, "big"): n for n in numbers}
    return sorted(keys[key] for key in store.present(list(keys)))


def is_whole(file):
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


WRITER = """
import random, sys
from pathlib import Path
from server.state_cache.disk_store import DiskStore
from server.state_cache.encoding import StoredSnapshot, encode_snapshot
from tests.state_cache.stored import ids, key_of, snapshot
store = DiskStore(Path(sys.argv[1]), int(sys.argv[2]))
rng = random.Random(int(sys.argv[3]))
for number in range(int(sys.argv[4])):
    token_ids = ids(rng.randrange(1, 60_000), number)
    stored = StoredSnapshot(snapshot(len(token_ids)), "weights-1", "", token_ids)
    store.write(*key_of(token_ids), len(token_ids), False, encode_snapshot(stored))
    print(number, flush=True)
store.close()
"""


def start_writer(folder, seed, count, limit=LIMIT):
    command = [sys.executable, "-c", WRITER, folder, str(limit), str(seed), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def payloads(file):
    with closing(sqlite3.connect(file)) as connection:
        return [row[0] for row in connection.execute("SELECT payload FROM payloads")]


def test_only_the_user_can_read_it(tmp_path):
    with opened(tmp_path / "new" / "states") as store:
        write(store, 1)
        folder = tmp_path / "new" / "states"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


def test_the_least_recently_used_go_first(tmp_path):
    now = iter(range(1000))
    with opened(tmp_path, clock=lambda: next(now)) as store:
        for number in range(1, 11):
            write(store, number)
        assert kept(store, range(1, 11)) == list(range(1, 11))
        store.read(SPACE, (2).to_bytes(16, "big"), 2)
        for number in range(11, 15):
            write(store, number)
        left = kept(store, range(1, 15))
        assert 2 in left
        assert {1, 3} & set(left) == set()
        assert {12, 13, 14} <= set(left)


def test_uses_survive_closing(tmp_path):
    now = iter(range(1000))
    with opened(tmp_path, clock=lambda: next(now)) as store:
        for number in range(1, 11):
            write(store, number)
        store.read(SPACE, (1).to_bytes(16, "big"), 1)
    with opened(tmp_path, clock=lambda: next(now)) as store:
        for number in range(11, 15):
            write(store, number)
        assert kept(store, [1, 2]) == [1]


def test_the_file_stays_within_its_limit(tmp_path):
    rng = random.Random(1)
    with opened(tmp_path) as store:
        for number in range(1, 150):
            assert write(store, number, rng.choice([10, 20_000, 800_000, 6_000_000]))
            assert (tmp_path / "cache.sqlite").stat().st_size <= LIMIT
            assert (tmp_path / "cache.sqlite-wal").stat().st_size <= WAL_BYTES
            assert store.usage()[1] <= LIMIT
        assert store.usage()[0] > 3
        assert not write(store, 200, LIMIT)
        assert store.errors == 0
    assert is_whole(tmp_path / "cache.sqlite")


def test_a_lower_limit_shrinks_the_file_and_keeps_the_latest(tmp_path):
    with opened(tmp_path) as store:
        for number in range(1, 12):
            write(store, number)
    with opened(tmp_path, LIMIT // 2) as store:
        store.prepare()
        assert (tmp_path / "cache.sqlite").stat().st_size <= LIMIT // 2
        write(store, 12)
        assert set(range(9, 13)) <= set(kept(store, range(1, 13)))
    assert (tmp_path / "cache.sqlite").stat().st_size <= LIMIT // 2
    assert is_whole(tmp_path / "cache.sqlite")


def test_two_processes_share_a_file_within_its_limit(tmp_path):
    writers = [start_writer(tmp_path, seed, 60) for seed in (1, 2)]
    for writer in writers:
        output, _ = writer.communicate(timeout=60)
        assert writer.returncode == 0
        assert len(output.split()) == 60
    file = tmp_path / "cache.sqlite"
    assert file.stat().st_size <= LIMIT
    assert is_whole(file)
    assert len(payloads(file)) > 10


@pytest.mark.parametrize("seed", range(4))
def test_a_writer_that_is_killed_leaves_whole_snapshots(tmp_path, seed):
    writer = start_writer(tmp_path, seed, 10_000)
    for _ in range(random.Random(seed).randrange(3, 30)):
        writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    with opened(tmp_path) as store:
        assert store.usage()[0] > 1
        assert write(store, 1)
        store.remove((1).to_bytes(16, "big"))
        assert store.errors == 0
    assert is_whole(tmp_path / "cache.sqlite")
    for payload in payloads(tmp_path / "cache.sqlite"):
        decode_snapshot(payload, SHAPES, VOCABULARY)


def test_what_is_no_database_is_set_aside(tmp_path, caplog):
    (tmp_path / "cache.sqlite").write_bytes(b"no database" * 1000)
    with opened(tmp_path) as store:
        assert write(store, 1)
        assert kept(store, [1]) == [1]
        assert store.errors == 1
    assert (tmp_path / "cache.sqlite.damaged").read_bytes().startswith(b"no database")
    assert len(caplog.records) == 1


def test_damage_that_is_found_while_running_is_set_aside_once(tmp_path, caplog):
    with opened(tmp_path) as store:
        write(store, 1)
    with opened(tmp_path) as store:
        store.present([bytes(16)])
        with (tmp_path / "cache.sqlite").open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(16384)
            file.write(b"\xff" * (size - 16384))
        with pytest.raises(StoreUnavailable, match="malformed"):
            store.lengths(SPACE, 0, 9)
        assert store.errors == 1
        assert store.present([bytes(16)]) == {}
        assert write(store, 2)
        assert len(caplog.records) == 1


def test_another_version_is_made_anew(tmp_path):
    with opened(tmp_path) as store:
        write(store, 1)
    with closing(sqlite3.connect(tmp_path / "cache.sqlite")) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        connection.execute("DROP TABLE payloads")
        connection.execute("CREATE TABLE other (x)")
        connection.commit()
    with opened(tmp_path) as store:
        assert store.usage()[0] == 0
        assert write(store, 1)
        assert store.errors == 0


def test_a_file_that_somebody_deletes_is_made_anew(tmp_path):
    with opened(tmp_path) as store, opened(tmp_path) as other:
        write(store, 1)
        assert kept(other, [1]) == [1]
        store.clear()
        assert kept(other, [1]) == []
        assert write(other, 2)
        assert kept(store, [1, 2]) == [2]
        (tmp_path / "cache.sqlite").unlink()
        assert write(store, 3)
        assert kept(other, [1, 2, 3]) == [3]


@contextmanager
def small_disk(folder):
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", folder]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_ends_writing_with_one_warning_and_reading_goes_on(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    folder = tmp_path / "small"
    with small_disk(folder), opened(folder, 64 << 20, retry_seconds=1e-9) as store:
        with pytest.raises(StoreUnavailable, match="full"):
            fill(store)
        with pytest.raises(StoreUnavailable, match="full"):
            write(store, 99, 8_000_000)
        assert len(caplog.records) == 1
        assert store.read(SPACE, (1).to_bytes(16, "big"), 1) == bytes([1]) * SIZE
        store.clear()
        assert write(store, 1)
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_after_a_full_disk_writing_is_left_alone_for_a_while(tmp_path):
    folder = tmp_path / "small"
    with small_disk(folder), opened(folder, 64 << 20) as store:
        with pytest.raises(StoreUnavailable):
            fill(store)
        for _ in range(5):
            with pytest.raises(StoreUnavailable, match="unavailable"):
                write(store, 99, 10)
        assert store.errors == 1


def test_a_read_only_disk_is_read(tmp_path, caplog):
    folder = tmp_path / "small"
    with small_disk(folder):
        with opened(folder) as store:
            write(store, 1)
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        with opened(folder) as store:
            assert store.read(SPACE, (1).to_bytes(16, "big"), 1) == bytes([1]) * SIZE
            with pytest.raises(StoreUnavailable):
                write(store, 2)
            assert store.lengths(SPACE, 0, 9) == [1]
        assert len(caplog.records) == 1


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with opened(tmp_path / "file" / "states") as store:
        for attempt in (lambda: write(store, 1), lambda: store.lengths(SPACE, 0, 9)):
            with pytest.raises(StoreUnavailable):
                attempt()
    assert len(caplog.records) == 2
