"""The keys of a server: from the environment and the file, read again while it runs."""

import logging
from pathlib import Path

import pytest

from server.access import keys
from server.access.caller import ANYBODY, Caller
from server.access.keys import Keys
from server.config import Settings, SettingsError
from server.config_http import HttpSettings
from tests.access.keys_files import write_keys


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def http(**fields: object) -> HttpSettings:
    return HttpSettings.model_validate(fields)


def test_without_keys_none_is_needed() -> None:
    assert not Keys(http()).required
    assert not Keys(http(api_key="", admin_key="")).required


def test_the_environments_keys_have_a_role_each() -> None:
    known = Keys(http(api_key="plain", admin_key="other"))
    assert known.required
    assert known.owner_of(b"plain") == Caller("default", "user")
    assert known.owner_of(b"other") == Caller("admin", "admin")
    assert known.owner_of(b"") is None
    assert known.owner_of(b"plai") is None


def test_keys_of_file_and_environment_are_known_together(path: Path) -> None:
    made = write_keys(path, {"alice": {}, "bob": {"role": "admin"}})
    known = Keys(http(keys_file=str(path), api_key="plain"))
    assert known.owner_of(b"plain") == Caller("default", "user")
    assert known.owner_of(made["alice"].encode()) == Caller("alice", "user")
    assert known.owner_of(made["bob"].encode()) == Caller("bob", "admin")


def test_every_key_is_compared_whichever_it_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = write_keys(path, {name: {} for name in "abcd"})
    known = Keys(http(keys_file=str(path)))
    compared: list[bytes] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr(keys.hmac, "compare_digest", compare)
    for key in (made["a"], made["d"], "wrong", ""):
        compared.clear()
        known.owner_of(key.encode())
        assert len(compared) == 4


def test_a_name_or_key_of_the_environment_must_not_be_in_the_file(path: Path) -> None:
    write_keys(path, {"default": {}})
    Keys(http(keys_file=str(path), admin_key="x"))
    with pytest.raises(SettingsError, match="RWKV_SERVER_HTTP_API_KEY"):
        Keys(http(keys_file=str(path), api_key="x"))
    made = write_keys(path, {"alice": {}})
    with pytest.raises(SettingsError, match="alice"):
        Keys(http(keys_file=str(path), api_key=made["alice"]))
    with pytest.raises(SettingsError, match="the same"):
        Keys(http(api_key="x", admin_key="x"))


def test_a_broken_file_is_an_error_at_the_start_and_keeps_the_keys_later(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = http(keys_file=str(path))
    with pytest.raises(SettingsError, match=r"keys\.toml: No such file"):
        Keys(settings)
    made = write_keys(path, {"alice": {}})
    known = Keys(settings)
    path.write_text("[alice")
    known.reread()
    assert known.owner_of(made["alice"].encode()) == Caller("alice", "user")
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.getMessage().startswith(f"the keys stay as they are: {path}: not valid TOML")


def test_the_file_is_read_again(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old = write_keys(path, {"alice": {}})["alice"].encode()
    known = Keys(http(keys_file=str(path), api_key="plain"))
    new = write_keys(path, {"alice": {"max_requests": 3}})["alice"].encode()
    with caplog.at_level(logging.INFO):
        known.reread()
    assert known.owner_of(old) is None
    owner = known.owner_of(new)
    assert owner is not None
    assert owner.limits.max_requests == 3
    assert known.owner_of(b"plain") is not None
    assert not any(secret in caplog.text for secret in (old.decode(), new.decode()))


def test_a_file_without_keys_lets_nobody_in(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = write_keys(path, {"alice": {}})["alice"].encode()
    known = Keys(http(keys_file=str(path)))
    path.write_text("")
    known.reread()
    assert known.required
    assert known.owner_of(key) is None
    assert Keys(http(keys_file=str(path))).required
    assert "all requests are refused" in caplog.text


def test_a_tenant_is_that_of_the_name_and_not_of_the_key() -> None:
    tenants = [Caller(name, "user").tenant for name in ("alice", "bob", "alice")]
    assert tenants[0] == tenants[2] != tenants[1]
    assert all(len(tenant) == 32 and int(tenant, 16) for tenant in tenants)
    assert ANYBODY.tenant == ""


def test_plain_keys_are_neither_shown_nor_sent_to_workers() -> None:
    settings = Settings.model_validate({"http": {"api_key": "hidden", "admin_key": "hidden2"}})
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert "hidden" not in text
