"""What the user names in the working directory, in full."""

import os
from pathlib import Path

import pytest

from server.absolute_paths import (
    absolute_adapter,
    absolute_model,
    absolute_path,
    absolute_tokenizer,
)
from server.access.keys import Keys
from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.locate import locate
from server.config import Settings, SettingsError
from server.config_http import HttpSettings
from server.home_folder import expanded
from server.machine.disk import with_disk_tier
from server.pool.absolute_assignment import absolute_settings, absolute_spec
from server.protocol.messages import ModelSpec
from server.registry.catalogue import read_catalogue
from server.tokenizer.base import TokenizerError
from server.tokenizer.load import load_tokenizer

SERVER = Path(__file__).parents[1] / "server"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    return str(tmp_path)


@pytest.mark.parametrize("name", ["a.st", "a/b.st", "../a.st", "./a.st", "a:0.5", "-x", "ü é", "."])
def test_a_path_is_the_same_file_in_any_folder(name, here):
    found = absolute_path(name)
    assert found.startswith("/")
    assert os.path.normpath(found) == os.path.normpath(f"{here}/{name}")


def test_what_is_absolute_stays_as_it_is(here):
    assert absolute_path("/a/../b") == "/a/../b"  # a may be a link
    assert absolute_path("~/x") == "/home/somebody/x"
    assert absolute_path("~no-such-user/x") == f"{here}/~no-such-user/x"


def test_one_place_expands_the_home_folder():
    """It raises RuntimeError for a user that does not exist."""
    places = {"home_folder.py", "data_folder.py", "open_parts.py"}  # says so; gets full paths
    for path in SERVER.rglob("*.py"):
        assert path.name in places or "expanduser(" not in path.read_text(), path


def test_the_home_of_nobody_is_a_name_like_any_other():
    assert expanded("~no-such-user/x") == Path("~no-such-user/x")
    with pytest.raises(CheckpointError, match=r"^~no-such-user/x: no such file"):
        locate("~no-such-user/x")
    with pytest.raises(TokenizerError, match=r"^~no-such-user/x: No such file"):
        load_tokenizer("~no-such-user/x", 256)
    given = {"engine": {"cache_dir": "~no-such-user"}, "model": {"directories": ["~no-such-user"]}}
    settings = Settings.model_validate(given)
    assert with_disk_tier(settings).cache.directory == "~no-such-user/states"
    with pytest.raises(SettingsError, match="~no-such-user"):
        read_catalogue(settings)
    with pytest.raises(SettingsError, match="~no-such-user"):
        Keys(HttpSettings(keys_file="~no-such-user/keys.toml"))


def test_what_is_not_a_path_stays_as_it_is(here):
    assert absolute_model("") == ""
    assert absolute_model("hf:me/tiny/a.st") == "hf:me/tiny/a.st"
    assert absolute_model("me/tiny") == f"{here}/me/tiny"
    assert [absolute_tokenizer(name) for name in ("", "world", "bytes")] == ["", "world", "bytes"]
    assert absolute_tokenizer("worlds") == f"{here}/worlds"


@pytest.mark.parametrize(
    ("text", "rest"),
    [("a.pth", "a.pth"), ("a.pth:0.5", "a.pth:0.5"), ("a:b", "a:b"), ("a:b:2", "a:b:2")],
)
def test_adapters_keep_their_alpha(text, rest, here):
    assert absolute_adapter(text) == f"{here}/{rest}"


@pytest.mark.parametrize("text", ["", ":0.5", "a:0", "a:-1"])
def test_what_is_no_adapter_is_left_to_who_reads_it(text):
    assert absolute_adapter(text) == text


def test_all_that_a_worker_is_told_holds_in_any_folder(here):
    parts = {"states": {"poet": "p.pth"}, "adapters": ["a.pth:2"], "reranker": "r.pth"}
    spec = ModelSpec("tiny", "tiny.st", "tokenizer.json", **parts)
    assert absolute_spec(spec) == ModelSpec(
        "tiny",
        f"{here}/tiny.st",
        f"{here}/tokenizer.json",
        states={"poet": f"{here}/p.pth"},
        adapters=[f"{here}/a.pth:2"],
        reranker=f"{here}/r.pth",
    )
    on_hub = ModelSpec("tiny", "hf:a/b/m.pth", reranker="hf:a/b/r.pth")
    assert absolute_spec(on_hub) == on_hub
    assert absolute_spec(ModelSpec("embedded", "")) == ModelSpec("embedded", "")
    url = "rediss://x/0?ssl_ca_certs=ca%20x.pem&ssl_keyfile=/k&health_check_interval=3"
    given = {"cache": {"directory": "c", "shared_url": url}, "engine": {"cache_dir": "~/e"}}
    settings = absolute_settings(Settings.model_validate(given))
    assert settings.cache.directory == f"{here}/c"
    assert settings.engine.cache_dir == "/home/somebody/e"
    assert settings.cache.shared_url == url.replace("ca%20x", f"{here}/ca%20x")
    assert absolute_settings(Settings()) == Settings()
