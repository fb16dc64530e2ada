"""What may be loaded without a key: what the settings name, and what is in model.directories."""

import pytest

from server.config_models import NamedModelSettings
from server.registry.within_directories import OutsideError, check_within

KNOWN = NamedModelSettings(
    path="/srv/known.pth",
    tokenizer="/srv/tokenizer.json",
    states={"poet": "/srv/poet.pth"},
    adapters=["/srv/lora.pth:2", "/srv/other"],
    reranker="/srv/reranker.pth",
)


@pytest.fixture
def directory(tmp_path, monkeypatch):
    for folder in ("models/sub", "models2", "home", "secrets"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("models/a.pth", "models/sub/b.pth", "secrets/key", "models2/c.pth"):
        (tmp_path / file).touch()
    (tmp_path / "models" / "inside").symlink_to("sub/b.pth")
    (tmp_path / "models" / "leak.pth").symlink_to(tmp_path / "secrets" / "key")
    (tmp_path / "models" / "up").symlink_to("..")
    (tmp_path / "models" / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to("models")
    (tmp_path / "home" / "models").symlink_to(tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "models"


INSIDE = [
    *("{0}/a.pth", "{0}/sub/b.pth", "{0}/sub", "{0}", "{0}/", "{0}//a.pth", "{0}/./a.pth"),
    *("{0}/sub/../a.pth", "{0}/inside", "models/a.pth", "link/a.pth", "~/models/a.pth"),
    *("{0}/not there yet", "{0}/../models/a.pth", "models2/../models/a.pth", "{0}/loop"),
]
OUTSIDE = [
    *("", ".", "/", "/etc/passwd", "/dev/zero", "/dev/stdin", "/proc/self/environ", "{0}/.."),
    *("{0}/../secrets/key", "{0}/leak.pth", "{0}/up/secrets/key", "secrets/key", "{0}2/c.pth"),
    *("models2/c.pth", "~/key", "~nobody-of-this-name/x", "hf:a/b", "hf:a/b/{0}/a.pth", "a\0b"),
    *("{0}/a.pth\0", "\ud800", "file://{0}/a.pth", "//etc/passwd", "x" * 5000, "{0}/../" * 50),
    *("/proc/self/root/etc/passwd", "/proc/self/cwd/secrets/key", "/dev/fd/0", "known.pth"),
]


@pytest.mark.parametrize("file", INSIDE)
@pytest.mark.parametrize("param", ["path", "tokenizer", "states", "adapters", "reranker"])
def test_what_is_in_a_directory(param, file, directory):
    check_within([str(directory)], None, changes(param, file.replace("{0}", str(directory))))


@pytest.mark.parametrize("file", OUTSIDE)
@pytest.mark.parametrize("param", ["path", "tokenizer", "states", "adapters", "reranker"])
def test_what_is_not(param, file, directory):
    if (param, file) == ("tokenizer", ""):
        return  # found by the model
    if param in ("adapters", "reranker") and not file:
        return  # none at all, which of adapters the request's schema refuses
    file = file.replace("{0}", str(directory))
    for folders in ([str(directory)], [], ["no such folder", "a\0b"]):
        with pytest.raises(OutsideError, match=f"{param}: must be in model") as caught:
            check_within(folders, KNOWN, changes(param, file))
        assert caught.value.param == param
        assert len(str(caught.value)) < 1200
        assert str(caught.value).isprintable()


def changes(param, file):
    if param == "states":
        return {"states": {"x": file}}
    return {param: [f"{file}:0.5"]} if param == "adapters" else {param: file}


def test_what_the_settings_name_stays_possible():
    same = {
        "path": "/srv/known.pth",
        "tokenizer": "/srv/tokenizer.json",
        "states": {"another name": "/srv/poet.pth"},
        "adapters": ["/srv/lora.pth:0.5"],
        "reranker": "/srv/reranker.pth",
    }
    check_within([], KNOWN, same | {"dtype": "int8", "workers": 2, "aliases": ["../../etc"]})
    for name in ("world", "bytes", ""):
        check_within([], None, {"tokenizer": name})
    check_within([], KNOWN, {})
    # What is one thing in the settings is not another by request.
    for changed in ({"tokenizer": "/srv/known.pth"}, {"path": "/srv/poet.pth"}, {"path": "bytes"}):
        with pytest.raises(OutsideError):
            check_within([], KNOWN, changed)
