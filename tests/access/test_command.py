"""`rwkv-server keys new`, as operators use it."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from server import cli
from server.access.caller import Caller
from server.access.keys_file import digest_of, read_keys_file
from server.config import SettingsError

runner = CliRunner()


def test_a_key_is_printed_once_beside_the_table_for_the_file(tmp_path: Path) -> None:
    result = runner.invoke(cli.app, ["keys", "new", "alice", "--admin"])
    assert result.exit_code == 0
    key, _, table = result.stdout.partition("\n")
    assert re.fullmatch(r"rk-[A-Za-z0-9_-]{43}", key)
    assert key not in table
    file = tmp_path / "keys.toml"
    file.write_text(table)
    assert read_keys_file(file) == {digest_of(key.encode()): Caller("alice", "admin")}


def test_a_key_is_added_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    made = {}
    for name in ("alice", "bob"):
        result = runner.invoke(cli.app, ["keys", "new", name, "--file", str(file)])
        assert result.exit_code == 0
        made[digest_of(result.stdout.strip().encode())] = Caller(name, "user")
    assert read_keys_file(file) == made


def test_names_that_cannot_be_and_names_that_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    runner.invoke(cli.app, ["keys", "new", "alice", "--file", str(file)])
    for name in ("alice", "a b"):
        result = runner.invoke(cli.app, ["keys", "new", name, "--file", str(file)])
        assert isinstance(result.exception, SettingsError)
        assert result.stdout == ""


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["keys", "--help"]])
def test_no_help_shows_a_key(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setenv("RWKV_SERVER_HTTP_API_KEY", "hidden-key")
    result = runner.invoke(cli.app, arguments)
    assert result.exit_code == 0
    assert "hidden-key" not in result.output
