import os
import tomllib
from pathlib import Path

import pytest

from server.config import Settings, SettingsError, load_settings

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
        ("[engine]\nworkers = 0", {}, "engine.workers"),
        ("[model]\ndtype = 'int3'", {}, "model.dtype"),
        ("[http\nport = 1", {}, "not valid TOML"),
        ("", {"RWKV_SERVER_HTTP_PROT": "1"}, "http.prot"),
        ("", {"RWKV_SERVER_PORT": "1"}, "RWKV_SERVER_PORT"),
        ("", {"RWKV_SERVER_HTTP": "1"}, "RWKV_SERVER_HTTP"),
        ("", {"RWKV_SERVER_HTTP_PORT": "x"}, "http.port"),
        ("", {"RWKV_SERVER_MODEL_TOKENIZER_X": "x"}, "model.tokenizer_x"),
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


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read(tmp_path, content):
    file = tmp_path / "server.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"server\.toml"):
        load_settings(file)
