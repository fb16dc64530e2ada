"""`hf:` and `pull` in whole programs; and that nothing else uses the network."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.locate import locate
from server.protocol.messages import ModelSpec
from server.registry.served_model import open_model
from server.tokenizer.bytes import ByteTokenizer
from tests.checkpoints.huggingface_exports import fla7, official_tensors, write_folder

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "server"]


@pytest.fixture
def model(tmp_path):
    """A folder with random weights and the tokenizer of bytes, in two shards."""
    config = {"num_hidden_layers": 2, "hidden_size": 12}
    return write_folder(tmp_path / "model", fla7(official_tensors("v7")), config, shards=2)


@pytest.fixture
def published(hub, model):
    hub.repos["me/tiny"] = {path.name: path.read_bytes() for path in model.iterdir()}
    return hub


def run(*arguments):
    return subprocess.run([*COMMAND, *arguments], cwd=ROOT, capture_output=True, text=True)


def test_a_model_on_the_hub_is_downloaded_once(published):
    first = run("inspect", "--json", "hf:me/tiny")
    assert first.returncode == 0, first.stderr
    found = json.loads(first.stdout)
    assert (found["name"], found["generation"], found["layers"]) == ("tiny", "rwkv7", 2)
    assert "pulling model-00002-of-00002.safetensors" in first.stderr
    asked = len(published.asked)
    files = locate("hf:me/tiny")
    assert (files.name, str(files.checkpoint)) == ("tiny", found["checkpoint"])
    assert len(published.asked) == asked


def test_pull_prints_where_the_model_is(published, tmp_path):
    target = tmp_path / "there"
    pulled = run("pull", "me/tiny", "--local-dir", str(target))
    assert (pulled.returncode, pulled.stdout) == (0, f"{target}\n")
    assert locate(str(target)).checkpoint == target
    assert len(published.downloads()) == 4  # config.json, the index and its two shards


def test_what_fails_in_the_other_process_is_an_error_here(published):
    with pytest.raises(CheckpointError, match="me/none: no such repository") as error:
        locate("hf:me/none")
    assert "\n" not in str(error.value)
    assert published.downloads() == []


def test_ctrl_c_ends_a_download_with_130(published):
    name = "model-00001-of-00002.safetensors"
    published.stall[name] = 100
    program = subprocess.Popen(
        [*COMMAND, "pull", "me/tiny"], cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True
    )
    deadline = time.monotonic() + 20
    for line in program.stderr:
        if name.encode() in line or time.monotonic() > deadline:
            break
    os.killpg(program.pid, signal.SIGINT)
    _, err = program.communicate(timeout=20)
    assert program.returncode == 130
    assert b"Traceback" not in err
    assert b"interrupted" in err


def opened(model):
    """What the API process reads of a model before its workers start."""
    return open_model(ModelSpec(id="model", path=model, tokenizer="bytes", dtype="float32"))


def test_workers_get_what_was_found(published, monkeypatch, model):
    monkeypatch.setattr("server.registry.served_model.load_tokenizer", lambda *_: ByteTokenizer())
    path = opened("hf:me/tiny").spec.path
    assert path == str(locate("hf:me/tiny").checkpoint)
    one = opened(str(model)).system_fingerprint
    assert one == opened(str(model)).system_fingerprint
    last = max(model.glob("*.safetensors"))
    content = last.read_bytes()
    last.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert opened(str(model)).system_fingerprint != one
    assert published.downloads()


def test_a_path_never_uses_the_network(published, monkeypatch, model):
    def forbidden(*_, **__):
        raise AssertionError("a path needs neither a connection nor another program")

    with monkeypatch.context() as patch:
        patch.setattr("server.registry.served_model.load_tokenizer", lambda *_: ByteTokenizer())
        patch.setattr(socket.socket, "connect", forbidden)
        patch.setattr(subprocess, "Popen", forbidden)
        assert opened(str(model)).generation == "rwkv7"
        with pytest.raises(AssertionError, match="neither"):
            locate("hf:me/tiny")
    script = (
        "import sys, server.cli\n"
        "def hook(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'subprocess.Popen'):\n"
        "        sys.exit(f'{event} {arguments}')\n"
        "sys.addaudithook(hook)\n"
        "loaded = {'huggingface_hub.file_download', 'httpx2'} & set(sys.modules)\n"
        "sys.exit(f'loaded at the start: {loaded}') if loaded else None\n"
        "server.cli.main()\n"
    )
    checked = subprocess.run(
        [sys.executable, "-c", script, "inspect", str(model)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    assert published.asked == []
