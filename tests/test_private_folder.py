"""Temporary folders: who may enter, and which are removed by whom."""

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from server import private_folder as module
from server.private_folder import PrivateFolder

ROOT = Path(__file__).parents[1]
HOLDER = """
import os, sys
from server.private_folder import PrivateFolder
folder = PrivateFolder()
(folder.path / "sub").mkdir(mode=0o500)
if sys.argv[1] == "fork" and os.fork() == 0:  # holds the folder until its input ends
    sys.stdin.read()
    os._exit(0)
print(folder.path, flush=True)
sys.stdin.read()
"""
OLD = time.time() - 7200


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def sweep(temporary):
    """Removes what is abandoned, as the next process does; the names that are left."""

    def swept():
        module._remove_abandoned.cache_clear()
        module._remove_abandoned(temporary)
        return sorted(path.name for path in temporary.iterdir())

    return swept


def hold(temporary, kind="plain"):
    """A process that holds a folder, and the folder."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, kind],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return holder, Path(holder.stdout.readline().strip())


def end(holder):
    holder.kill()
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()


def made(temporary, name, *, owner=False, age=OLD):
    folder = temporary / name
    folder.mkdir(mode=0o700)
    if owner:
        (folder / "pid").write_text("1\n")
    os.utime(folder, (age, age))
    return folder


def test_only_this_user_may_enter_and_nothing_is_left(temporary):
    folder = PrivateFolder()
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert folder.path.parent == temporary
    assert (folder.path / "pid").read_text() == f"{os.getpid()}\n"
    (folder.path / "empty").mkdir(mode=0o500)
    folder.remove()
    folder.remove()
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_goes_and_what_a_living_one_has_stays(temporary, sweep):
    killed, left = hold(temporary)
    living, held = hold(temporary)
    try:
        os.utime(held, (OLD, OLD))
        assert sweep() == sorted([left.name, held.name])
        end(killed)
        assert sweep() == [held.name]
        assert (held / "sub").is_dir()
    finally:
        end(living)
    assert sweep() == []


def test_a_child_that_lives_on_holds_the_folder(temporary, sweep):
    holder, held = hold(temporary, "fork")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    try:
        assert sweep() == [held.name]
    finally:
        holder.stdin.close()  # the child ends
        holder.stdout.read()
        holder.stdout.close()
    assert sweep() == []


def test_the_next_process_removes_it_by_itself(temporary):
    killed, left = hold(temporary)
    end(killed)
    following, held = hold(temporary)
    assert (left.exists(), held.exists()) == (False, True)
    end(following)


@pytest.mark.parametrize(
    "name",
    [
        "rwkv-server-test-abcd1234",
        "rwkv-server-kernels-abcd1234",
        "rwkv-server-ABCD1234",
        "rwkv-server-abcd123",
        "rwkv-server-abcd12345",
        "rwkv-serverabcd1234",
        "my-rwkv-server-abcd1234",
        "rwkv-server-abcd1234.txt",
        "rwkv-server-abcd1234\n",
    ],
)
def test_other_names_are_left_alone(temporary, sweep, name):
    made(temporary, name, owner=True)
    assert sweep() == [name]


def test_links_and_files_are_left_alone(temporary, sweep, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "pid").write_text("1\n")
    (temporary / "rwkv-server-aaaaaaaa").symlink_to(precious)
    (temporary / "rwkv-server-bbbbbbbb").write_text("mine")
    inside = made(temporary, "rwkv-server-cccccccc", owner=True)
    (inside / "link").symlink_to(precious)
    assert sweep() == ["rwkv-server-aaaaaaaa", "rwkv-server-bbbbbbbb"]
    assert (precious / "pid").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_folders_of_other_users_are_left_alone(temporary, sweep):
    folder = made(temporary, "rwkv-server-aaaaaaaa", owner=True)
    os.chown(folder, 12345, 12345)
    assert sweep() == [folder.name]


def test_without_an_owner_only_age_tells(temporary, sweep):
    made(temporary, "rwkv-server-aaaaaaaa")
    made(temporary, "rwkv-server-bbbbbbbb", age=time.time())
    assert sweep() == ["rwkv-server-bbbbbbbb"]


def test_earlier_versions_hold_theirs_by_a_socket(temporary, monkeypatch):
    sockets = []
    for name in ("rwkv-server-aaaaaaaa", "rwkv-server-bbbbbbbb"):
        folder = made(temporary, name, age=time.time())
        monkeypatch.chdir(folder)  # its path may be too long
        sockets.append(socket.socket(socket.AF_UNIX))
        sockets[-1].bind("workers")
        sockets[-1].listen()
    monkeypatch.chdir(temporary)
    sockets[0].close()
    module._remove_abandoned.cache_clear()
    module._remove_abandoned(Path())
    assert [path.name for path in temporary.iterdir()] == ["rwkv-server-bbbbbbbb"]
    sockets[1].close()


def test_there_is_a_bound(temporary, sweep, monkeypatch):
    monkeypatch.setattr(module, "_MAX_REMOVED", 3)
    for number in range(5):
        made(temporary, f"rwkv-server-aaaaaaa{number}", owner=True)
    assert len(sweep()) == 2
    assert sweep() == []


@pytest.mark.usefixtures("temporary")
def test_a_fork_leaves_the_folder():
    folder = PrivateFolder()
    child = os.fork()
    if child == 0:
        folder.remove()
        os._exit(0)
    os.waitpid(child, 0)
    assert folder.path.is_dir()
    folder.remove()
