"""What is half written goes, however a process ends, and never what another one is writing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from server.temporary_files import (
    PARTIAL_NAME,
    remove_abandoned,
    replacing,
    replacing_folder,
)

ROOT = Path(__file__).parents[1]

SCRIPT = """
import sys
from pathlib import Path
from server.temporary_files import interrupted_when_ended, replacing, replacing_folder

path, kind = Path(sys.argv[1]), sys.argv[2]
context = replacing if kind == "file" else replacing_folder
with interrupted_when_ended(), context(path) as temporary:
    (temporary if kind == "file" else temporary / "model.safetensors").write_bytes(b"half")
    print("writing", flush=True)
    sys.stdin.read()
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def writer(tmp_path):
    """Starts a process that has written half a file or folder and waits."""
    processes = []

    def start(kind="file", name="a.st"):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path / name), kind],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        processes.append(process)
        assert process.stdout.readline() == b"writing\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "a.st"
    with replacing(path) as temporary:
        temporary.write_bytes(b"whole")
        assert not path.exists()
        with replacing(temporary) as same:
            assert same == temporary
    assert names(tmp_path) == ["a.st"]
    assert path.read_bytes() == b"whole"
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_bytes(b"other" * (1 // 0))
    assert names(tmp_path) == ["a.st"]
    assert path.read_bytes() == b"whole"


def test_a_new_file_has_the_mode_that_the_user_wants(tmp_path):
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "a.st") as temporary:
            temporary.write_bytes(b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a.st").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_leave_nothing(tmp_path, writer, kind, number):
    process = writer(kind)
    assert len(names(tmp_path)) == 1
    process.send_signal(number)
    process.send_signal(number)  # a second one does not disturb the cleaning
    process.wait(timeout=60)
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_process_has_left_goes_and_what_a_live_one_writes_stays(
    tmp_path, writer, kind
):
    dead, alive = writer(kind, "dead.st"), writer(kind, "alive.st")
    dead.kill()
    dead.wait()
    assert len(names(tmp_path)) == 2
    with replacing(tmp_path / "other.st") as temporary:
        temporary.write_bytes(b"x")
    (left, other) = names(tmp_path)
    assert left.startswith(".alive.st.")
    assert other == "other.st"
    alive.communicate()
    assert [name for name in names(tmp_path) if name.startswith(".")] == []


def test_foreign_files_and_links_stay(tmp_path):
    (tmp_path / "outside").write_text("mine")
    (tmp_path / ".a.tmp").write_text("mine")
    (tmp_path / ".a.0123456789ab.tmp").write_text("mine")
    (tmp_path / ".a.st.0123456789ab.rwkv-server.tmp").symlink_to(tmp_path / "outside")
    os.mkfifo(tmp_path / ".b.st.0123456789ab.rwkv-server.tmp")
    (tmp_path / ".c.st.0123456789ab.rwkv-server.tmp").write_text("left")
    before = names(tmp_path)
    remove_abandoned(tmp_path)
    assert set(before) - set(names(tmp_path)) == {".c.st.0123456789ab.rwkv-server.tmp"}
    remove_abandoned(tmp_path / "none")


def test_files_in_a_folder_that_is_written_are_written_at_once(tmp_path):
    with replacing_folder(tmp_path / "model") as temporary:
        with replacing(temporary / "model.safetensors") as path:
            path.write_bytes(b"x")
        assert names(temporary) == ["model.safetensors"]
        temporary.replace(tmp_path / "model")
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["model.safetensors"]


def test_partial_files_of_packed_weights_are_known_by_their_name(tmp_path):
    (tmp_path / "abc.partial").write_bytes(b"left")
    (tmp_path / "abc.safetensors").write_bytes(b"whole")
    remove_abandoned(tmp_path, PARTIAL_NAME)
    assert names(tmp_path) == ["abc.safetensors"]
