import pytest

from server.config import Settings, SettingsError
from server.model.initialize import design, initialize
from server.registry.catalogue import read_catalogue
from tests.model.random_models import write_model


def settings(**sections):
    return Settings.model_validate({"model": {"name": "main"}} | sections)


def write_tiny(path):
    path.parent.mkdir(exist_ok=True)
    return write_model(path, dict(initialize(design("rwkv7", 1, 16, 256, 16), 0)))


def test_the_default_model_takes_the_name_of_its_file(tmp_path):
    path = write_tiny(tmp_path / "tiny.safetensors")
    catalogue = read_catalogue(Settings.model_validate({"model": {"path": str(path)}}))
    assert catalogue.default == "tiny"
    assert list(catalogue.entries) == ["tiny"]
    assert catalogue.entries["tiny"].options.preload


def test_an_entry_has_all_that_its_workers_need(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    options = {"path": "a.pth", "dtype": "int8", "workers": 3, "adapters": ["~/x.pth:0.5", "y"]}
    options |= {"aliases": ["b"], "states": {"poet": "~/p.pth"}, "reranker": "~/r.pth"}
    entry = read_catalogue(settings(models={"org/a": options})).entries["org/a"]
    spec = entry.spec
    assert (spec.id, spec.path, spec.dtype) == ("org/a", "a.pth", "int8")
    assert spec.adapters == ["/home/somebody/x.pth:0.5", "y"]
    assert spec.states == {"poet": "/home/somebody/p.pth"}
    assert spec.reranker == "/home/somebody/r.pth"
    assert entry.names == ("org/a", "b", "org/a:poet", "b:poet")


@pytest.mark.parametrize(
    ("model", "models"),
    [
        ({}, {"main": {}}),
        ({}, {"a": {"aliases": ["main"]}}),
        ({"aliases": ["a"]}, {"a": {}}),
        ({"aliases": ["x"]}, {"a": {"aliases": ["x"]}}),
        ({"aliases": ["main"]}, {}),
        ({"states": {"a": "f"}}, {"main:a": {}}),
    ],
)
def test_a_name_means_one_model(model, models):
    with pytest.raises(SettingsError, match="must be unique") as caught:
        read_catalogue(settings(model={"name": "main"} | model, models=models))
    assert "\n" not in str(caught.value)


def test_models_in_directories_are_known_but_not_preloaded(tmp_path, caplog):
    write_tiny(tmp_path / "one.safetensors")
    write_tiny(tmp_path / "two" / "any.safetensors")
    write_tiny(tmp_path / "main.safetensors")  # its name is taken
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".hidden.pth").touch()
    (tmp_path / "empty").mkdir()
    caplog.set_level("INFO")
    catalogue = read_catalogue(settings(model={"name": "main", "directories": [str(tmp_path)]}))
    assert list(catalogue.entries) == ["main", "one", "two"]
    assert not catalogue.entries["two"].options.preload
    assert catalogue.entries["two"].options.path == str(tmp_path / "two")
    assert catalogue.entries["main"].options.path == ""
    assert "main.safetensors is not listed" in caplog.text


def test_a_directory_that_is_not_there(tmp_path):
    wrong = settings(model={"name": "main", "directories": [str(tmp_path / "no")]})
    with pytest.raises(SettingsError, match=r"model\.directories: .*no"):
        read_catalogue(wrong)
