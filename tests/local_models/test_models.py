"""`rwkv-server models`: what is here, what short names exist, what the cache holds."""

import json
import os
import subprocess
import sys

import pytest

from server.checkpoints.published import PUBLISHED
from server.checkpoints.reader import open_checkpoint
from server.kernels.team import Team
from server.local_models import found, program
from server.local_models.caches import cached_items, prune
from server.model.config import read_config
from server.model.loading import WeightsCache, load_weights
from server.model.revisions import PACKING_REVISION
from tests.model.random_models import random_tensors, write_model

REPO, FILE = "BlinkDL/rwkv7-g1", PUBLISHED["g1:0.4b"].file


def make_model(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_model(path, random_tensors(layers=2, dim=64, head_size=32, vocab_size=256))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache of the Hub with an RWKV model of a short name, another one, and what is none."""
    root = tmp_path / "hub"
    monkeypatch.setattr(found.constants, "HF_HUB_CACHE", str(root))
    snapshot = root / f"models--{REPO.replace('/', '--')}" / "snapshots" / ("a" * 40)
    make_model(snapshot / FILE)
    make_model(snapshot / "other.st")
    alien = root / "models--meta--llama" / "snapshots" / ("b" * 40)
    alien.mkdir(parents=True)
    (alien / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    (alien / "model.safetensors").write_bytes(b"\0" * 100)


def listed(capsys, *arguments):
    assert program.main(["--json", *map(str, arguments)]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("hub")
def test_models_here_are_named_as_serve_wants_them(tmp_path, capsys):
    folder = tmp_path / "models"
    path = make_model(folder / "mine.safetensors")
    (folder / "broken.pth").write_bytes(b"<html>")
    (folder / "notes.txt").write_text("x")
    (folder / "sub").mkdir()
    models = {model["name"]: model for model in listed(capsys, folder)["models"]}
    names = {None, str(path), str(folder / "broken.pth"), "g1:0.4b", f"hf:{REPO}/other.st"}
    assert set(models) == names
    assert models[str(path)]["file_bytes"] == path.stat().st_size
    assert set(models[str(path)]["needed_bytes"]) == {"int8", "int4"}
    assert "broken.pth" in models[str(folder / "broken.pth")]["error"]
    assert program.main([str(folder)]) == 0
    assert "cannot be served" in capsys.readouterr().out


@pytest.mark.usefixtures("hub")
def test_short_names_tell_repository_file_and_memory(capsys):
    short = listed(capsys)["short_names"]
    assert set(short) == set(PUBLISHED)
    known = short["g1:13.3b"]
    assert known["repository"] == "BlinkDL/rwkv7-g1"
    assert known["file"].endswith(".pth")
    assert abs(known["file_bytes"] / 26_540_868_485 - 1) < 0.01
    assert known["needed_bytes"]["int4"] < known["needed_bytes"]["int8"] < known["file_bytes"]


def test_a_folder_that_is_not_there_is_one_line(capsys, tmp_path):
    assert program.main([str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


@pytest.fixture
def packed(tmp_path):
    """A cache with the packed weights of a model, and the model."""
    path = make_model(tmp_path / "a.safetensors")
    checkpoint = open_checkpoint(path)
    cache = WeightsCache(tmp_path / "cache" / "weights", 1 << 30)
    arguments = checkpoint, read_config(checkpoint), "int8", Team(1), cache, lambda *_: None
    load_weights(*arguments)
    return tmp_path / "cache", path


def test_packed_weights_of_a_model_that_is_here_stay(packed):
    root, path = packed
    (item,) = cached_items(root)
    assert (item.what, item.stale) == (f"{path} as int8", "")
    assert list(prune(cached_items(root))) == []
    path.unlink()
    (item,) = cached_items(root)
    assert item.stale == "the model is gone"
    assert [gone.path for gone in prune(cached_items(root))] == [item.path]
    assert cached_items(root) == []


def test_prune_removes_what_nothing_will_use_again(packed, capsys):
    root, _ = packed
    weights, kernels = root / "weights", root / "kernels"
    (weights / "damaged.safetensors").write_bytes(b"x")
    data = next(p for p in weights.iterdir() if p.name != "damaged.safetensors").read_bytes()
    current = b'"packing_revision":"%d"' % PACKING_REVISION
    (weights / "old.safetensors").write_bytes(data.replace(current, b'"packing_revision":"0"'))
    (weights / "half.partial").write_bytes(b"x" * 5000)
    (kernels / "0123456789abcdef" / "kernels").mkdir(parents=True)
    (kernels / "0123456789abcdef" / "kernels" / "a.nbi").write_bytes(b"x" * 5000)
    (root / "states").mkdir()
    (root / "states" / "states.sqlite").write_bytes(b"x" * 5000)
    stale = {item.path.name: item.stale for item in cached_items(root) if item.stale}
    assert stale.keys() == {
        "damaged.safetensors",
        "old.safetensors",
        "half.partial",
        "0123456789abcdef",
    }
    assert program.main(["--prune", f"--cache-dir={root}"]) == 0
    assert "are free again" in capsys.readouterr().out
    left = {p.name for p in weights.iterdir()}
    assert len(left) == 1
    assert not left & stale.keys()
    assert list(kernels.iterdir()) == []
    assert (root / "states" / "states.sqlite").exists()


def test_prune_leaves_what_is_being_written(packed):
    root, _ = packed
    partial = root / "weights" / "busy.partial"
    script = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print(); input()"
    command = [sys.executable, "-c", script, str(partial)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as writer:
        writer.stdout.readline()
        assert partial not in {item.path for item in cached_items(root)}
        writer.communicate(b"\n")
    assert partial in {item.path for item in cached_items(root) if item.stale}


def test_the_command_reads_folders_from_the_settings(tmp_path):
    make_model(tmp_path / "models" / "mine.safetensors")
    settings = tmp_path / "server.toml"
    cache = tmp_path / "cache"
    settings.write_text(
        f'[model]\ndirectories = ["{tmp_path}/models"]\n[engine]\ncache_dir = "{cache}"\n'
    )
    command = [sys.executable, "-m", "server", "models", "--config", str(settings), "--json"]
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub")}
    done = subprocess.run(command, capture_output=True, env=environment, check=True)
    shown = json.loads(done.stdout)
    assert [model["name"] for model in shown["models"]] == [
        None,
        f"{tmp_path}/models/mine.safetensors",
    ]
    assert all(item["path"].startswith(str(cache)) for item in shown["cache"])
