"""No command leaves a temporary file, whenever and by whichever signal it is ended."""

import os
import signal
import subprocess
import sys
import time

import pytest

from server.checkpoints.reader import open_checkpoint
from tests.e2e.server_process import ROOT, ServerProcess, run_cli
from tests.model.random_models import random_tensors, write_model

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
LARGE = ("--layers", "2", "--dim", "512")  # with 65,536 tokens, 288 MB
SECONDS = 240  # a busy machine begins late


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "server", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def wait_for_file(folder, suffix, process_is_running, least=0):
    """Wait until there is a file that is being written, of `least` bytes."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and process_is_running():
        for path in folder.iterdir() if folder.is_dir() else ():
            try:
                if path.name.endswith(suffix) and path.stat().st_size >= least:
                    return path
            except FileNotFoundError:
                continue
        time.sleep(0.002)
    raise AssertionError(names(folder))


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("least", [0, 100_000_000])
def test_init(tmp_path, number, least):
    process = start("init", *LARGE, tmp_path / "a.st")
    wait_for_file(tmp_path, ".tmp", lambda: process.poll() is None, least)
    process.send_signal(number)
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "interrupted; nothing was written"
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["b.gguf", "b.packed"])
@pytest.mark.parametrize("number", SIGNALS)
def test_convert(tmp_path, number, name):
    tensors = random_tensors(1, 64, 1 << 18, 32)
    source = write_model(tmp_path / "a.safetensors", tensors, "bfloat16")
    process = start("convert", source, tmp_path / name, "--dtype", "float32")
    wait_for_file(tmp_path, ".tmp", lambda: process.poll() is None)
    process.send_signal(number)
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, err
    assert names(tmp_path) == ["a.safetensors"]


def test_what_kill_leaves_the_next_run_removes(tmp_path):
    killed, running = (start("init", *LARGE, tmp_path / name) for name in ("a.st", "b.st"))
    for process, name in ((killed, "a.st"), (running, "b.st")):
        while not any(name in found for found in names(tmp_path)):
            time.sleep(0.002)
            assert process.poll() is None
    os.kill(running.pid, signal.SIGSTOP)
    killed.kill()
    killed.wait()
    assert len(names(tmp_path)) == 2
    small = ("--layers", "1", "--dim", "64", "--vocab-size", "99")
    code, _, err = run_cli("init", *small, str(tmp_path / "c.st"))
    assert code == 0, err
    left = names(tmp_path)
    os.kill(running.pid, signal.SIGCONT)
    assert running.wait(SECONDS * 4) == 0
    assert [name.split(".")[1] for name in left] == ["b", "st"]  # .b.st.….tmp and c.st
    assert names(tmp_path) == ["b.st", "c.st"]
    open_checkpoint(tmp_path / "b.st")


@pytest.mark.parametrize("number", [*SIGNALS[:2], signal.SIGKILL])
def test_packing_for_the_server(tmp_path, number):
    model = write_model(tmp_path / "a.safetensors", random_tensors(2, 60, 256, 20), "bfloat16")
    cache = tmp_path / "cache"
    with ServerProcess(str(model), "--dtype", "int4", RWKV_SERVER_ENGINE_CACHE_DIR=cache) as server:
        # Kernels that quantise are compiled while it is there.
        wait_for_file(cache / "weights", ".partial", lambda: server._process.poll() is None)
        workers = server.workers()
        server.send_signal(number)
        server.wait()
        for worker in workers:
            worker.wait(SECONDS)
    assert names(cache / "weights") == []


def test_half_packed_weights_of_a_killed_worker_go_when_it_starts_again(tmp_path):
    model = write_model(tmp_path / "a.safetensors", random_tensors(2, 60, 256, 20), "bfloat16")
    cache = tmp_path / "cache"
    with ServerProcess(str(model), "--dtype", "int8", RWKV_SERVER_ENGINE_CACHE_DIR=cache) as server:
        wait_for_file(cache / "weights", ".partial", lambda: server._process.poll() is None)
        server.workers()[0].kill()
        server.wait()
    (cache / "weights").mkdir(exist_ok=True)
    (cache / "weights" / "of-another.partial").write_bytes(b"left")
    with ServerProcess(str(model), "--dtype", "int8", RWKV_SERVER_ENGINE_CACHE_DIR=cache) as server:
        wait_for_file(cache / "weights", ".safetensors", lambda: server._process.poll() is None)
    assert [name.rpartition(".")[2] for name in names(cache / "weights")] == ["safetensors"]
