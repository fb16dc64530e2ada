"""What the user is told when a download fails, and what is left then."""

import errno
import fcntl
import json
import shutil
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from server.pull import places as places_module
from server.pull import transfer as transfer_module
from tests.pull.hub_stand_in import COMMIT, FOLDER, WEIGHTS


def test_wrong_content_is_deleted(hub, run, fails, tmp_path):
    hub.repos["me/tiny"] = FOLDER
    for name in ("config.json", "model.safetensors"):
        content = FOLDER[name]
        hub.instead = {name: content[:-1] + bytes([content[-1] ^ 1])}
        fails(f"me/tiny/{name}: the checksum of what was downloaded is wrong", "me/tiny")
        assert not list((tmp_path / "home").rglob("*.incomplete"))
        fails("not on this machine", "--only-pulled", "me/tiny")
    hub.instead = {"model.safetensors": WEIGHTS[:-1]}
    fails("me/tiny: Consistency check failed", "me/tiny")
    hub.instead = {}
    assert run("me/tiny")[0] == 0


@pytest.mark.parametrize(
    ("status", "code", "match"),
    [
        (401, "RepoNotFound", "me/tiny: no such repository at"),
        (404, "RepoNotFound", "if it is private, set HF_TOKEN"),
        (403, "GatedRepo", "accept its terms at"),
        (403, "", "refuses access (403); check HF_TOKEN"),
        (500, "", "answers with HTTP status 500; try later"),
    ],
)
def test_refusals(hub, fails, status, code, match):
    hub.repos["me/tiny"] = FOLDER
    hub.refuse["me/tiny"] = (status, code)
    fails(match, "me/tiny")


def test_no_connection(fails, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    fails("me/tiny: no connection to http://127.0.0.1:9: ", "me/tiny")
    monkeypatch.setattr(constants, "is_offline_mode", lambda: True)
    fails("HF_HUB_OFFLINE forbids", "me/tiny")


def test_a_full_disk(hub, fails, monkeypatch):
    hub.repos["me/tiny"] = FOLDER
    with monkeypatch.context() as patch:
        patch.setattr(transfer_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=20))
        fails("has only 0.0 GB left", "me/tiny")
    assert hub.downloads() == []

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(transfer_module, "http_get", full)
    fails("me/tiny: the disk is full; make room", "me/tiny")


def test_hostile_file_names(hub, fails, tmp_path):
    for name in ("../../evil.safetensors", "/evil.safetensors", "a/../../evil.st", "c:\\x.st"):
        hub.repos["me/evil"] = {name: WEIGHTS}
        fails("leaves the folder", "me/evil")
    hostile = {"weight_map": {"a": "../../evil.safetensors"}}
    hub.repos["me/evil"] = {
        "config.json": b"{}",
        "model.safetensors.index.json": json.dumps(hostile).encode(),
        "../../evil.safetensors": WEIGHTS,
    }
    fails("must be the name of a file in the same folder", "me/evil")
    assert not list(tmp_path.rglob("*evil.*"))


@pytest.mark.parametrize(
    "change",
    [
        {"sha": "../../x"},
        {"sha": None},
        {"siblings": [{"rfilename": "a.pth", "size": 3}]},
        {"siblings": [{"rfilename": "a.pth", "size": -3, "blobId": "0" * 40}]},
        {"siblings": [{"rfilename": "a.pth", "size": 3, "blobId": "../" * 13 + "x"}]},
        {"siblings": [{"size": 3}]},
        {"siblings": 3},
    ],
)
def test_strange_answers(hub, fails, change):
    hub.repos["me/tiny"] = FOLDER
    hub.info = {"id": "me/tiny", "sha": COMMIT, "siblings": []} | change
    fails("does not answer as the Hugging Face Hub does", "me/tiny")


def test_a_server_that_changes_its_mind(hub, run, fails, tmp_path):
    hub.repos["me/tiny"] = FOLDER
    hub.etag = {"model.safetensors": "a" * 64}
    assert run("me/tiny")[0] == 0  # another name in the cache, but the content that was announced
    shutil.rmtree(tmp_path / "home")
    real = places_module.transfer

    def changes(*arguments):
        real(*arguments)
        if arguments[1].name == "model.safetensors":
            hub.instead = {"model.safetensors": WEIGHTS[::-1]}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places_module, "transfer", changes)
        fails("me/tiny/model.safetensors: it has just changed", "me/tiny")
    fails("not on this machine", "--only-pulled", "me/tiny")


def test_one_process_at_a_time_downloads_a_file(hub, run, fails, tmp_path):
    hub.repos["me/tiny"] = FOLDER
    other = tmp_path / "here" / "config.json.rwkv-server.incomplete"
    other.parent.mkdir()
    with other.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        fails("another process is downloading it", "--local-dir", str(other.parent), "me/tiny")
    assert run("--local-dir", str(other.parent), "me/tiny")[0] == 0
