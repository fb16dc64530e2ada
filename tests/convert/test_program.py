"""`rwkv-server convert` as a program: exit codes, messages, and nothing left behind."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from server.checkpoints.reader import open_checkpoint
from server.convert.program import main
from tests.model.random_models import random_tensors, write_model

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "server"]


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "a.safetensors", random_tensors(layers=2))


def start(*arguments, **options):
    command = [*COMMAND, "convert", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, **options)


def convert(*arguments, **options):
    """(exit code, lines on standard error)"""
    program = start(*arguments, **options)
    _, err = program.communicate(timeout=120)
    return program.returncode, err.splitlines()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_it_says_what_was_written(model, tmp_path):
    code, lines = convert(model, tmp_path / "b.packed", "--dtype", "int8")
    assert code == 0
    assert (
        lines[0] == f"wrote {tmp_path / 'b.packed'} (packed, int8): all arrays have their checksums"
    )
    found = subprocess.run(
        [*COMMAND, "inspect", "--json", str(tmp_path / "b.packed")],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    shown = json.loads(found.stdout)
    assert (shown["format"], shown["packed_as"], shown["layers"]) == ("packed", "int8", 2)


def assert_refused(result, *words):
    code, lines = result
    assert code == 2
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]


def test_nothing_is_overwritten_without_force(model, tmp_path):
    target = tmp_path / "b.safetensors"
    target.write_text("mine")
    assert_refused(convert(model, target), "b.safetensors: exists; pass --force")
    assert target.read_text() == "mine"
    code, _ = convert(model, target, "--force")
    assert code == 0
    assert open_checkpoint(target).tensors
    assert names(tmp_path) == ["a.safetensors", "b.safetensors"]


def test_a_failure_leaves_what_was_there(model, tmp_path):
    target = tmp_path / "b.safetensors"
    target.write_text("mine")
    tensors = random_tensors(layers=2)
    tensors["head.weight"][0, 0] = 1e6
    write_model(model, tensors)
    result = convert(model, target, "--force", "--dtype", "float16")
    assert_refused(result, "tensor head.weight", "do not fit float16")
    assert target.read_text() == "mine"


def limit_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


@pytest.mark.parametrize("name", ["b.safetensors", "b.gguf", "folder", "b.packed"])
def test_a_full_disk_is_one_line(model, tmp_path, name):
    result = convert(model, tmp_path / name, "--dtype", "float32", preexec_fn=limit_files)
    assert_refused(result, name, "File too large")
    assert names(tmp_path) == ["a.safetensors"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("name", ["b.safetensors", "folder"])
def test_ctrl_c_leaves_nothing(tmp_path, name, number):
    # Large enough to be caught in the middle.
    source = write_model(tmp_path / "a.safetensors", random_tensors(1, 64, 1 << 18, 32), "bfloat16")
    program = start(source, tmp_path / name, "--dtype", "float32", start_new_session=True)
    deadline = time.monotonic() + 60
    while len(names(tmp_path)) == 1 and time.monotonic() < deadline:
        time.sleep(0.002)
    os.killpg(program.pid, number)
    _, err = program.communicate(timeout=60)
    assert program.returncode == 130
    assert err.splitlines()[-1] == "interrupted; nothing was written"
    assert names(tmp_path) == ["a.safetensors"]


WRONG = [
    (("none", "b.st"), "no such file"),
    (("a.safetensors", "no/b.st"), "no such folder"),
    (("a.safetensors", "a.safetensors", "--force"), "is what is converted"),
    (("a.safetensors", "b.pth"), ".pth files are not written"),
    (("a.safetensors", "full"), "is not empty; pass --force"),
    (("a.safetensors", "full", "--format", "gguf"), "is a folder"),
    (("a.safetensors", "a.safetensors", "--format", "huggingface"), "is what is converted"),
    (("a.safetensors", "full/notes.txt", "--format", "huggingface", "--force"), "is a file"),
    (("a.safetensors", "b.st", "--dtype", "q8_0"), "choose one of float32"),
    (("a.safetensors", "b.st", "--adapter", "none.st"), "none.st: No such file"),
]


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_what_the_user_gets_wrong_is_one_line(tmp_path, arguments, message, capsys, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    code = main(list(arguments))
    assert_refused((code, capsys.readouterr().err.splitlines()), message)
    assert names(tmp_path) == ["a.safetensors", "full"]


def test_a_folder_with_an_earlier_conversion(model, tmp_path):
    folder = tmp_path / "RWKV7-0.1B"  # what follows the dot is no suffix of ours
    folder.mkdir()
    stale = ["model.safetensors.index.json", "model-00001-of-00002.safetensors"]
    for name in ("notes.txt", *stale):
        (folder / name).write_text("old")
    code, lines = convert(model, folder, "--force")
    assert (code, lines[0][:5]) == (0, "wrote")
    assert names(folder) == ["config.json", "model.safetensors", "notes.txt"]
    assert_refused(convert(folder, folder, "--force"), "is what is converted")
