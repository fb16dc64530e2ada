"""The file of keys: what it may hold, and that whatever it holds is an error of one line."""

import logging
import os
import re
import stat
import string
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.access import keys_file
from server.access.caller import Caller, KeyLimits
from server.access.keys_file import append_key, digest_of, new_key, read_keys_file, table_of
from server.config import SettingsError
from tests.access.keys_files import write_keys

SHA = digest_of(b"a").hex()
OTHER_SHA = digest_of(b"b").hex()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def test_a_table_says_whose_the_key_is_and_what_the_owner_may(path: Path) -> None:
    path.write_text(
        f'[alice]\nsha256 = "{SHA.upper()}"\n'
        f'["bob@example.org"]\nsha256 = "{OTHER_SHA}"\nrole = "admin"\nmax_requests = 3\n'
        "max_queued_tokens = 4\nrequests_per_minute = 5\ntokens_per_minute = 6\n"
        "max_prompt_tokens = 7\nmax_output_tokens = 8\npriority = -9\n"
    )
    limits = KeyLimits(
        max_requests=3,
        max_queued_tokens=4,
        requests_per_minute=5,
        tokens_per_minute=6,
        max_prompt_tokens=7,
        max_output_tokens=8,
        priority=-9,
    )
    bob = Caller("bob@example.org", "admin", limits)
    found = read_keys_file(path)
    assert found == {digest_of(b"a"): Caller("alice", "user"), digest_of(b"b"): bob}
    assert bob.priority == -9


def test_an_empty_file_has_no_keys(path: Path) -> None:
    path.write_text("# none yet\n")
    assert read_keys_file(path) == {}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[a", "not valid TOML"),
        ("a = 1", "'a': should be a table"),
        ("[a]", "'a.sha256': Field required"),
        ("[a]\nsha256 = 'rk-plain'", "'a.sha256'"),
        (f"[a]\nsha256 = '{SHA}0'", "'a.sha256'"),
        (f"[a]\nsha256 = '{SHA}\\n'".replace("'", '"'), "'a.sha256'"),
        (f"[a]\nsha256 = '{SHA}'\nrole = 'root'", "'a.role'"),
        (f"[a]\nsha256 = '{SHA}'\nkey = 'x'", "'a.key': unknown field"),
        (f"[a]\nsha256 = '{SHA}'\nmax_requests = -1", "'a.max_requests'"),
        (f"[a]\nsha256 = '{SHA}'\nmax_requests = true", "'a.max_requests'"),
        (f"[a]\nsha256 = '{SHA}'\nmax_requests = '3'", "'a.max_requests'"),
        (f"[a]\nsha256 = '{SHA}'\npriority = 1.5", "'a.priority'"),
        (f"[a]\nsha256 = '{SHA}'\ntokens_per_minute = {10**30}", "'a.tokens_per_minute'"),
        (f"[a]\nsha256 = '{SHA}'\nmax_requests = 1{'0' * 5000}", "not valid TOML"),
        (f"[' a']\nsha256 = '{SHA}'", "' a'"),
        (f"['']\nsha256 = '{SHA}'", "''"),
        (f"[{'a' * 65}]\nsha256 = '{SHA}'", "a key's name"),
        (f"[a]\nsha256 = '{SHA}'\n[b]\nsha256 = '{SHA.upper()}'", "b has the same key as a"),
        ("a = " + "[" * 100_000, "not valid TOML"),
        (f"[a]\nsha256 = '{SHA}'\n{'x' * 5000} = 1", "unknown field"),
        ("x" * (2 << 20), "larger than"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_it(path: Path, text: str, named: str) -> None:
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_keys_file(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert named in message
    assert "\n" not in message
    assert len(message) < 400


def test_a_message_does_not_show_a_key_that_was_put_in_the_place_of_its_hash(path: Path) -> None:
    key = new_key()
    path.write_text(f'[alice]\nsha256 = "{key}"\n')
    with pytest.raises(SettingsError) as caught:
        read_keys_file(path)
    assert key not in str(caught.value)


def test_there_is_a_bound_on_keys(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_file, "MAX_KEYS", 2)
    write_keys(path, {"a": {}, "b": {}})
    assert len(read_keys_file(path)) == 2
    write_keys(path, {"a": {}, "b": {}, "c": {}})
    with pytest.raises(SettingsError, match="3 keys, over the limit of 2"):
        read_keys_file(path)


LINES = st.lists(
    st.sampled_from(
        [
            "[a]",
            "[a.b]",
            "[[a]]",
            '["\\u0000"]',
            "[b]",
            f'sha256 = "{SHA}"',
            f'sha256 = "{OTHER_SHA}"',
            'role = "admin"',
            "role = 1",
            "max_requests = 9",
            "max_requests = 1979-05-27",
            "priority = nan",
            "tokens_per_minute = inf",
            "x = {a = [1, 'b']}",
        ]
    )
    | st.text(string.printable, max_size=20)
).map(lambda lines: "\n".join(lines).encode())


@given(LINES | st.binary(max_size=100))
def test_no_content_ends_in_anything_but_keys_or_an_error_of_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.toml"
    path.write_bytes(content)
    wrong, found = "", {}
    try:
        found = read_keys_file(path)
    except SettingsError as error:
        wrong = str(error)
    assert not wrong or wrong.startswith(f"{path}: ")
    assert len(wrong.splitlines()) <= 1
    assert all(len(digest) == 32 and caller.name for digest, caller in found.items())


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, reason in ((pipe, "regular"), (tmp_path, "regular"), (tmp_path / "no", "No such")):
        with pytest.raises(SettingsError, match=reason):
            read_keys_file(path)


@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o400, 0), (0o640, 1), (0o602, 1)])
def test_a_file_that_others_may_read_is_one_warning(
    path: Path, caplog: pytest.LogCaptureFixture, mode: int, warnings: int
) -> None:
    write_keys(path, {"a": {}})
    path.chmod(mode)
    with caplog.at_level(logging.WARNING):
        read_keys_file(path)
    assert len(caplog.records) == warnings


def test_new_keys_are_random_and_safe_in_urls_and_headers() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(re.fullmatch(r"rk-[A-Za-z0-9_-]{43}", key) for key in keys)


@pytest.mark.parametrize("name", ["alice", "a-b_c", "a.b", "me@example.org", "7"])
def test_a_table_is_read_as_it_was_meant(path: Path, name: str) -> None:
    path.write_text(table_of(name, "secret", "admin"))
    assert read_keys_file(path) == {digest_of(b"secret"): Caller(name, "admin")}


@pytest.mark.parametrize("name", ["", "-a", "a b", 'a"', "a\n", "ä", "a" * 65])
def test_names_that_cannot_be_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="a key's name"):
        table_of(name, "secret", "user")


def test_keys_are_appended_and_the_file_is_its_owners(path: Path) -> None:
    append_key(path, "a", table_of("a", "1", "user"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with path.open("a") as file:
        file.write("# without a line break")
    append_key(path, "b", table_of("b", "2", "admin"))
    assert list(tomllib.loads(path.read_text())) == ["a", "b"]
    assert [caller.role for caller in read_keys_file(path).values()] == ["user", "admin"]


def test_a_name_is_not_appended_twice_nor_to_a_broken_file(path: Path) -> None:
    append_key(path, "a", table_of("a", "1", "user"))
    before = path.read_text()
    with pytest.raises(SettingsError, match="has a key of the name a"):
        append_key(path, "a", table_of("a", "2", "user"))
    assert path.read_text() == before
    path.write_text("[a")
    with pytest.raises(SettingsError, match="not valid TOML"):
        append_key(path, "b", table_of("b", "2", "user"))
    assert path.read_text() == "[a"
