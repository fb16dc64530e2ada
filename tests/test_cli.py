"""The command line, as users see it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from server import cli
from server.checkpoints.reader import open_checkpoint
from server.model.config import read_config

runner = CliRunner()
TINY = ["--layers", "2", "--dim", "64", "--vocab-size", "256"]


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "tiny.safetensors"
    result = runner.invoke(cli.app, ["init", *TINY, "--seed", "3", str(path)])
    assert result.exit_code == 0, result.output
    return path


def run(monkeypatch, capsys, *arguments):
    """(exit code, stdout, stderr) of main."""
    monkeypatch.setattr(sys, "argv", ["rwkv-server", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code, *capsys.readouterr()


def test_init_and_inspect(model):
    result = runner.invoke(cli.app, ["inspect", "--json", str(model)])
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["name"] == "tiny"
    assert (found["layers"], found["dim"], found["vocab_size"]) == (2, 64, 256)
    assert found["tokenizer"] == "bytes"
    assert found["state_bytes"] == 2 * (2 * 64 + 64 * 64) * 4
    table = runner.invoke(cli.app, ["inspect", str(model)]).stdout
    for text in ("RWKV-7", "float32", "162,368", "34 kB per conversation"):
        assert text in table


def test_init_is_deterministic_and_stores_bfloat16(model, tmp_path):
    again, half = tmp_path / "again.st", tmp_path / "half.st"
    runner.invoke(cli.app, ["init", *TINY, "--seed", "3", str(again)])
    assert again.read_bytes() == model.read_bytes()
    runner.invoke(cli.app, ["init", *TINY, "--dtype", "bfloat16", "--vocab-size", "99", str(half)])
    config = read_config(open_checkpoint(half))
    assert (config.stored_dtype, config.vocab_size) == ("bfloat16", 99)
    result = runner.invoke(cli.app, ["inspect", str(half)])
    assert "pass --tokenizer" in result.stdout


@pytest.mark.parametrize("suffix", [".gguf", ".pth", ".bin", ".packed", ".ckpt", ".pt"])
def test_init_writes_no_file_that_is_named_as_another_format(tmp_path, suffix):
    result = runner.invoke(cli.app, ["init", *TINY, str(tmp_path / f"a{suffix}")])
    assert result.exit_code == 2
    assert "safetensors file" in result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["inspect", "serve"])
def test_a_state_that_is_named_twice_is_refused(model, command):
    states = [f"--state=a={model}", f"--state=b={model}", "--state=a=other.pth"]
    result = runner.invoke(cli.app, [command, str(model), *states])
    assert result.exit_code == 2
    assert "--state: a is named twice" in result.output


def test_init_does_not_overwrite(model):
    before = model.read_bytes()
    result = runner.invoke(cli.app, ["init", *TINY, str(model)])
    assert result.exit_code == 2
    assert model.read_bytes() == before
    assert runner.invoke(cli.app, ["init", *TINY, "--force", str(model)]).exit_code == 0
    assert model.read_bytes() != before


def test_user_errors_are_one_line(monkeypatch, capsys, tmp_path, model):
    (tmp_path / "bad.pth").write_bytes(b"PK\x03\x04")
    cases = [
        (["inspect", str(tmp_path / "missing")], "no such file or folder"),
        (["inspect", str(tmp_path / "bad.pth")], "broken or truncated zip"),
        (["inspect", str(tmp_path)], "2 checkpoints in it"),
        (["init", *TINY, str(tmp_path / "no" / "x.st")], "no such folder"),
        (["init", *TINY, str(model / "x.st")], "no such folder"),
    ]
    for arguments, message in cases:
        code, out, err = run(monkeypatch, capsys, *arguments)
        assert code == 2
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert message in err


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["/dev/zero", "pipe", "folder", "closed"])
@pytest.mark.parametrize(
    "command",
    [
        ["inspect", "{}"],
        ["inspect", "--tokenizer", "{}", "{model}"],
        ["serve", "{}"],
        ["serve", "--tokenizer", "{}", "{model}"],
        ["serve", "--adapter", "{}", "{model}"],
        ["serve", "--adapter", "{}:0.5", "{model}"],
        ["serve", "--state", "a={}", "{model}"],
        ["serve", "--config", "{}", "{model}"],
        ["serve", "--model-dir", "{}", "{model}"],
        ["keys", "new", "alice", "--file", "{}"],
    ],
)
def test_what_is_no_regular_file_is_one_line(command, kind, monkeypatch, capsys, tmp_path, model):
    path = tmp_path / "named"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "closed":
            path.write_bytes(b"x")
            real_open = os.open  # root may read what others may not

            def refused(name, *arguments, **keywords):
                if str(name) == str(path):
                    raise PermissionError(13, "Permission denied", str(name))
                return real_open(name, *arguments, **keywords)

            monkeypatch.setattr(os, "open", refused)
        case _:
            path = Path(kind)
    if kind == "folder" and "--model-dir" in command:
        return
    arguments = [text.replace("{model}", str(model)).replace("{}", str(path)) for text in command]
    if command[:2] == ["inspect", "--tokenizer"]:
        assert runner.invoke(cli.app, arguments).exit_code == 0  # it is named, and not opened
        return
    monkeypatch.setenv("RWKV_SERVER_LOGGING_LEVEL", "error")
    code, out, error = run(monkeypatch, capsys, *arguments)
    assert (code, out) == (2, "")
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    assert str(path) in error


def test_keys_are_not_made_through_a_link(monkeypatch, capsys, tmp_path):
    link, target = tmp_path / "keys.toml", tmp_path / "elsewhere"
    link.symlink_to(target)
    code, _, error = run(monkeypatch, capsys, "keys", "new", "alice", "--file", str(link))
    assert (code, error.count("\n")) == (2, 1)
    assert not target.exists()
    target.touch(mode=0o600)
    assert run(monkeypatch, capsys, "keys", "new", "alice", "--file", str(link))[0] == 0
    assert "[alice]" in target.read_text()


def test_the_keys_file_of_the_settings_is_a_regular_file(monkeypatch, capsys, tmp_path, model):
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setenv("RWKV_SERVER_LOGGING_LEVEL", "error")
    for path in ("/dev/zero", str(tmp_path / "pipe"), str(tmp_path)):
        monkeypatch.setenv("RWKV_SERVER_HTTP_KEYS_FILE", path)
        code, _, error = run(monkeypatch, capsys, "serve", str(model))
        assert (code, error.count("\n")) == (2, 1)
        assert error.startswith(f"error: {path}: ")


def test_wrong_options(monkeypatch, capsys, tmp_path):
    arguments = ["init", "--layers", "1", "--dim", "65", str(tmp_path / "x.st")]
    code, _, err = run(monkeypatch, capsys, *arguments)
    assert code == 2
    assert "multiple of the head size" in err
    assert run(monkeypatch, capsys, "nonsense")[0] == 2


def test_serve_takes_what_belongs_to_a_model(monkeypatch, tmp_path):
    served = []

    def serve(settings, read_settings):
        served.extend((settings, read_settings()))
        return 0

    monkeypatch.setattr(cli, "serve", serve)
    monkeypatch.setattr(cli, "setup_logging", lambda _: None)
    config = tmp_path / "server.toml"
    config.write_text("[model]\nadapters = ['file.pth']\nstates = {f = 'f.pth'}\n")
    options = "--state poet=p=1.pth --state x=x.pth --model-dir a --model-dir b --reranker r"
    arguments = ["serve", "--config", str(config), *options.split()]
    assert runner.invoke(cli.app, arguments).exit_code == 0
    assert served[0] == served[1]
    assert served[0].model.states == {"poet": "p=1.pth", "x": "x.pth"}
    assert served[0].model.directories == ["a", "b"]
    assert served[0].model.reranker == "r"
    assert served[0].model.adapters == ["file.pth"]
    adapters = ["--adapter", "a.pth:0.5", "--adapter", "b.pth"]
    assert runner.invoke(cli.app, ["serve", *adapters]).exit_code == 0
    assert served[2].model.adapters == ["a.pth:0.5", "b.pth"]
    for wrong in ("poet", "=p.pth", "poet="):
        assert runner.invoke(cli.app, ["serve", "--state", wrong]).exit_code == 2


def test_as_a_program(tmp_path):
    command = [sys.executable, "-m", "server"]
    version = subprocess.run([*command, "version"], capture_output=True, text=True, check=True)
    assert version.stdout.strip()
    broken = subprocess.run(
        [*command, "inspect", str(tmp_path / "missing")], capture_output=True, text=True
    )
    assert broken.returncode == 2
    assert broken.stderr.startswith("error: ")
    assert "Traceback" not in broken.stderr


def test_the_version_as_a_command_and_as_an_option():
    said = [runner.invoke(cli.app, [form]) for form in ("version", "--version")]
    assert [result.exit_code for result in said] == [0, 0]
    assert said[0].output == said[1].output
    assert said[0].output.strip()
