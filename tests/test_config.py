import os
import tomllib
from pathlib import Path

import pytest

from server.config import Settings, SettingsError
from server.config_models import NamedModelSettings
from server.config_sources import load_settings

DOCUMENTED = Path(__file__).parent.parent / "config" / "server.toml"


@pytest.fixture(autouse=True)
def environ(monkeypatch):
    """Sets variables; none of ours comes from outside."""
    for name in list(os.environ):
        if name.startswith("RWKV_SERVER_"):
            monkeypatch.delenv(name)

    def set_all(variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_all


def test_every_setting_is_documented_at_its_default():
    assert tomllib.loads(DOCUMENTED.read_text()) == Settings().model_dump()


def test_every_setting_is_described_as_in_the_file():
    lines = DOCUMENTED.read_text().splitlines()
    section = None
    for number, line in enumerate(lines):
        if line.startswith("["):
            section = Settings.model_fields[line.strip("[]")].annotation
        elif " = " in line and section and not line.startswith("#"):
            field = section.model_fields[line.split(" = ")[0]]
            assert lines[number - 1].startswith(f"# {field.description}")


def test_the_table_of_a_further_model_is_documented_at_its_defaults(tmp_path):
    lines = DOCUMENTED.read_text().splitlines()
    start, end = lines.index('# [models."org/name"]'), lines.index("[models]")
    example = [
        line.removeprefix("# ")
        for line in lines[start:end]
        if " = " in line or line.startswith("# [")
    ]
    file = tmp_path / "server.toml"
    file.write_text("\n".join(line for line in example if not line.endswith(")")))
    assert (
        tomllib.loads(file.read_text())["models"]["org/name"] == NamedModelSettings().model_dump()
    )
    assert load_settings(file).models == {"org/name": NamedModelSettings()}
    for number in range(start + 2, end, 2):
        field = NamedModelSettings.model_fields[lines[number][2:].split(" = ")[0]]
        assert lines[number - 1].startswith(f"# {field.description}")


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path, environ):
    file = tmp_path / "server.toml"
    file.write_text("[http]\nport = 1\nhost = 'file'\n[engine]\nthreads = 1\nmax_batch = 1\n")
    environ({"RWKV_SERVER_HTTP_PORT": "2", "RWKV_SERVER_ENGINE_THREADS": "2"})
    settings = load_settings(file, {"http": {"port": 3, "host": None}})
    assert (settings.http.port, settings.http.host) == (3, "file")
    assert (settings.engine.threads, settings.engine.max_batch) == (2, 1)


def test_the_environment_can_name_the_file(tmp_path, environ):
    file = tmp_path / "server.toml"
    file.write_text("[http]\nport = 4\n")
    environ({"RWKV_SERVER_CONFIG": str(file)})
    assert load_settings().http.port == 4


def test_keys_with_underscores_come_from_the_environment(environ):
    environ({"RWKV_SERVER_HTTP_MAX_BODY_BYTES": "4096"})
    assert load_settings().http.max_body_bytes == 4096


@pytest.mark.parametrize(
    ("text", "variables", "named"),
    [
        ("[http]\nprot = 1", {}, "http.prot"),
        ("[htp]\nport = 1", {}, "htp"),
        ("http = 1", {}, "http"),
        ("[http]\nport = 'x'", {}, "http.port"),
        ("[http]\nport = 70000", {}, "http.port"),
        ("[engine]\nworkers = 65", {}, "engine.workers"),
        ("[model]\ndtype = 'int3'", {}, "model.dtype"),
        ("[http\nport = 1", {}, "not valid TOML"),
        ("", {"RWKV_SERVER_HTTP_PROT": "1"}, "http.prot"),
        ("", {"RWKV_SERVER_PORT": "1"}, "RWKV_SERVER_PORT"),
        ("", {"RWKV_SERVER_HTTP": "1"}, "RWKV_SERVER_HTTP"),
        ("", {"RWKV_SERVER_HTTP_PORT": "x"}, "http.port"),
        ("", {"RWKV_SERVER_MODEL_TOKENIZER_X": "x"}, "model.tokenizer_x"),
        ("", {"RWKV_SERVER_MODEL_ALIASES": "a,b"}, "JSON"),
        ("", {"RWKV_SERVER_MODELS": "x"}, "JSON"),
        ("", {"RWKV_SERVER_MODELS": "[]"}, "models"),
        ("", {"RWKV_SERVER_MODELS_A": "x"}, "models.a"),
        ("[models]\na = 1", {}, "models.a"),
        ("[models.a]\npaht = 'x'", {}, "models.a.paht"),
        ("[models.a]\nworkers = 65", {}, "models.a.workers"),
        ("[models.a]\nadapters = ['x:nan']", {}, "models.a.adapters.0"),
        ("[models.a]\naliases = ['']", {}, "models.a.aliases.0"),
        ("[models.' a']", {}, "models. a"),
        ("[models.a.states]\n'x:y' = 'f'", {}, "models.a.states.x:y"),
        ("[model]\nname = 'a\tb'", {}, "model.name"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_it(tmp_path, environ, text, variables, named):
    file = tmp_path / "server.toml"
    file.write_text(text)
    environ(variables)
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_models_from_the_file_and_the_environment(tmp_path, environ):
    file = tmp_path / "server.toml"
    file.write_text(
        "[model]\naliases = ['d']\n[models.'org/a']\npath = 'a.pth'\n"
        "[models.'org/a'.states]\npoet = 'p.pth'\n[models.b]\npreload = false\n"
    )
    environ({"RWKV_SERVER_MODELS": '{"C": {"adapters": ["x.pth:0.5"]}}'})
    settings = load_settings(file, {"model": {"directories": ["models"]}})
    assert list(settings.models) == ["org/a", "b", "C"]
    assert settings.models["org/a"].states == {"poet": "p.pth"}
    assert settings.models["org/a"].preload
    assert not settings.models["b"].preload
    assert settings.models["C"].adapters == ["x.pth:0.5"]
    assert (settings.model.aliases, settings.model.directories) == (["d"], ["models"])


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read(tmp_path, content):
    file = tmp_path / "server.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"server\.toml"):
        load_settings(file)


@pytest.mark.parametrize("name", ["API_KEY", "ADMIN_KEY"])
def test_a_plain_key_comes_from_the_environment_only(tmp_path, environ, name):
    file = tmp_path / "server.toml"
    file.write_text(f"[http]\n{name.lower()} = 'hidden'")
    with pytest.raises(SettingsError, match=f"RWKV_SERVER_HTTP_{name}") as caught:
        load_settings(file)
    assert "hidden" not in str(caught.value)
    environ({f"RWKV_SERVER_HTTP_{name}": "plain"})
    assert getattr(load_settings().http, name.lower()).get_secret_value() == "plain"


@pytest.mark.parametrize("key", ["hidden key", "hidden\n", "hidden\t", "hïdden"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(environ, key):
    environ({"RWKV_SERVER_HTTP_API_KEY": key})
    with pytest.raises(SettingsError, match=r"http\.api_key: should be printable ASCII") as caught:
        load_settings()
    assert "dden" not in str(caught.value)


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"RWKV_SERVER_MODEL_PATH": "m\udcff.pth"}, "environment: model.path"),
        ({"RWKV_SERVER_MODEL_ALIASES": r'["a", "b\ud800"]'}, "environment: model.aliases"),
        ({"RWKV_SERVER_CACHE_SHARED_URL": "redis://\udc80"}, "environment: cache.shared_url"),
        ({"RWKV_SERVER_HTTP_API_KEY": "secret\udc80"}, "environment: http.api_key"),
        ({"RWKV_SERVER_MODEL_STATES": r'{"\ud800": "f"}'}, "environment: model.states"),
    ],
)
def test_text_that_is_not_utf_8_is_refused_and_not_shown(environ, variables, named):
    environ(variables)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"{named}: must be valid UTF-8")
    assert str(caught.value).isprintable()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("path", ["m\udcff.pth", Path("folder\udc80") / "m.pth"])
def test_a_path_that_is_not_utf_8_is_refused(path):
    with pytest.raises(SettingsError, match=r"command line: model.path: must be valid UTF-8"):
        load_settings(overrides={"model": {"path": path}})
