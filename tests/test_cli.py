"""The command line, as users see it."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from server import cli
from server.checkpoints.reader import open_checkpoint
from server.model.config import read_config

runner = CliRunner()
TINY = ["--layers", "2", "--dim", "64"]


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
    for text in ("RWKV-7", "float32", "162,368", "33,792 bytes per conversation"):
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
    options = "--state poet=p=1.pth --state x=x.pth --model-dir a --model-dir b"
    arguments = ["serve", "--config", str(config), *options.split()]
    assert runner.invoke(cli.app, arguments).exit_code == 0
    assert served[0] == served[1]
    assert served[0].model.states == {"poet": "p=1.pth", "x": "x.pth"}
    assert served[0].model.directories == ["a", "b"]
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
