"""Models from the Hub: what is fetched, and what the user is told when that fails."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import file_download

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.hub import HubModel, local_path, parse_model
from server.pull import program
from tests.pull.hub_stand_in import COMMIT, FOLDER, WEIGHTS

INDEX = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}


def test_a_folder_is_fetched_whole_and_in_one_format(hub, run, tmp_path):
    hub.repos["me/tiny"] = FOLDER
    code, out, err = run("me/tiny")
    snapshot = tmp_path / "home/hub/models--me--tiny/snapshots" / COMMIT
    assert (code, out) == (0, f"{snapshot}\n")
    assert "pulling model.safetensors: 10,240 of 10,240 bytes" in err
    found = {path.name: path.read_bytes() for path in snapshot.iterdir()}
    left = ("README.md", "pytorch_model.bin", "modeling_rwkv7.py")
    assert found == {name: content for name, content in FOLDER.items() if name not in left}
    assert hub.downloads()[-1] == "model.safetensors"


def test_the_second_time_nothing_is_downloaded(hub, run):
    hub.repos["me/tiny"] = FOLDER
    _, first, _ = run("me/tiny")
    downloads = hub.downloads()
    assert run("hf:me/tiny")[:2] == (0, first)
    assert hub.downloads() == downloads
    asked = len(hub.asked)
    assert run("--only-pulled", "hf:me/tiny")[:2] == (0, first)
    assert len(hub.asked) == asked


def test_only_pulled_is_all_or_nothing(hub, run, fails):
    shards = {"model-1.safetensors": b"1" * 99, "model-2.safetensors": b"2" * 99}
    index = {"config.json": b"{}", "model.safetensors.index.json": json.dumps(INDEX).encode()}
    hub.repos["me/big"] = index | shards
    fails("not on this machine", "--only-pulled", "me/big")
    _, path, _ = run("me/big")
    assert hub.downloads()[-2:] == ["model-1.safetensors", "model-2.safetensors"]
    assert run("--only-pulled", "me/big")[1] == path
    Path(path.strip(), "model-2.safetensors").unlink()
    fails("not on this machine", "--only-pulled", "me/big")
    del hub.repos["me/big"]["model-1.safetensors"]
    hub.commit = "f" * 40
    fails("its index names model-1.safetensors, which it lacks", "me/big")


def test_a_file_of_many(hub, run, fails):
    hub.repos["me/world"] = {f"v{n}/RWKV-{n}.pth": WEIGHTS[n:] for n in range(12)}
    fails("12 checkpoints in it, name one as me/world/FILE: v0/RWKV-0.pth, ", "me/world")
    assert run("me/world")[2].count(".pth") == 10
    code, out, _ = run("me/world/v3/RWKV-3.pth")
    assert code == 0
    assert out.endswith(f"snapshots/{COMMIT}/v3/RWKV-3.pth\n")
    assert hub.downloads() == ["RWKV-3.pth"]
    fails("me/world: no file v9/none.pth in it: v0/", "me/world/v9/none.pth")
    hub.repos["me/one"] = {"a/x.pth": WEIGHTS, "a/x.safetensors": b"s", "a/tokenizer.json": b"{}"}
    assert run("me/one")[1].endswith("/a/x.safetensors\n")
    assert hub.downloads()[1:] == ["tokenizer.json", "x.safetensors"]
    hub.repos["me/none"] = {"README.md": b""}
    fails("no checkpoint in it", "me/none")


def test_into_a_folder(hub, run, tmp_path):
    hub.repos["me/tiny"] = FOLDER
    target = tmp_path / "here" / "tiny"
    assert run("--local-dir", str(target), "me/tiny")[:2] == (0, f"{target}\n")
    assert (target / "model.safetensors").read_bytes() == WEIGHTS
    before = len(hub.downloads())
    run("--local-dir", str(target), "me/tiny")
    assert len(hub.downloads()) == before
    (target / "config.json").write_text("{}")
    run("--local-dir", str(target), "me/tiny")
    assert hub.downloads()[before:] == ["config.json"]
    assert not (tmp_path / "home" / "hub").exists()


def test_revisions(hub, run, fails):
    hub.repos["me/tiny"] = FOLDER
    fails("no revision v9", "--revision=v9", "me/tiny")
    fails("leaves the folder", "--revision=../../x", "me/tiny")
    assert run(f"--revision={COMMIT}", "me/tiny")[0] == 0
    fails("not on this machine", "--only-pulled", "me/tiny")  # no branch is known
    old = run("me/tiny")[1]
    hub.commit = "e" * 40
    assert run("--only-pulled", "me/tiny")[1] == old
    new = run("me/tiny")[1]
    assert new != old
    assert run("--only-pulled", "me/tiny")[1] == new


def test_the_token_is_sent(hub, run, monkeypatch):
    hub.repos["me/tiny"] = FOLDER
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    run("me/tiny")
    for _, _, headers in hub.asked:
        assert {k.lower(): v for k, v in headers.items()}["authorization"] == "Bearer hf_secret"


def test_a_connection_that_breaks_is_resumed(hub, run, monkeypatch):
    monkeypatch.setattr(file_download, "time", SimpleNamespace(sleep=lambda _: None))
    hub.repos["me/tiny"] = FOLDER
    hub.cut["model.safetensors"] = 5500
    code, out, _ = run("me/tiny")
    assert code == 0
    ranges = [headers.get("range") for headers in hub.headers_of("model.safetensors")]
    assert ranges == [None, "bytes=5000-"]
    assert Path(out.strip(), "model.safetensors").read_bytes() == WEIGHTS


def test_what_an_interruption_leaves_is_used(hub, run, fails, monkeypatch, tmp_path):
    hub.repos["me/tiny"] = FOLDER

    def interrupt(_, name, done, __):
        if name == "pulling model.safetensors" and done >= 3000:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(program.ProgressDisplay, "__call__", interrupt)
        code, out, err = run("me/tiny")
    assert (code, out) == (130, "")
    assert "interrupted" in err
    fails("not on this machine", "--only-pulled", "me/tiny")
    code, out, _ = run("me/tiny")
    assert code == 0
    second = hub.headers_of("model.safetensors")[1]
    assert second["range"] == "bytes=2000-"  # the chunk that was on its way is asked for again
    assert Path(out.strip(), "model.safetensors").read_bytes() == WEIGHTS
    assert not list((tmp_path / "home").rglob("*.incomplete"))


def test_names():
    assert parse_model("hf:BlinkDL/rwkv-7-world") == HubModel("BlinkDL/rwkv-7-world")
    assert parse_model("a/b/c/d.pth") == HubModel("a/b", "c/d.pth")
    assert str(parse_model("a/b/c/d.pth")) == "a/b/c/d.pth"
    for wrong in ("", "hf:", "x", "hf:/x", "a/", "a/b/", "../x", "a/..", "-a/b", "a--b/c", "a b/c"):
        with pytest.raises(CheckpointError, match="want OWNER/NAME"):
            parse_model(wrong)
    for wrong in ("a/b//etc", "a/b/../c", "a/b/c/..", "a/b/c\\d"):
        with pytest.raises(CheckpointError, match="leaves the folder"):
            parse_model(wrong)


def test_wrong_names_start_nothing(monkeypatch):
    monkeypatch.setattr("server.checkpoints.hub.subprocess", None)
    assert local_path("models/x.pth") == "models/x.pth"
    with pytest.raises(CheckpointError, match="want OWNER/NAME"):
        local_path("hf:x")


def test_a_single_shard_is_no_model(hub, run, fails):
    hub.repos["me/big"] = {"model-00001-of-00002.safetensors": WEIGHTS, "config.json": b"{}"}
    assert run("me/big/model-00001-of-00002.safetensors")[0] == 0
    fails("no checkpoint in it", "me/big")
