"""The file of API keys: a TOML table for each, with the key's hash, its role and its limits."""

import hashlib
import json
import logging
import os
import re
import secrets
import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from server.access.caller import Caller, KeyLimits, Role
from server.config import SettingsError
from server.regular_file import read_regular

log = logging.getLogger(__name__)

MAX_KEYS = 1000
_MAX_BYTES = 1 << 20
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"

KeyName = Annotated[str, StringConstraints(pattern=_NAME)]


class KeyTable(KeyLimits):
    """One table of the file."""

    # No strings for numbers, and no booleans.
    model_config = ConfigDict(strict=True)

    sha256: Annotated[
        str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$"), Field(description="Of the key.")
    ]
    role: Role = "user"


_MESSAGES = {"extra_forbidden": "unknown field", "model_type": "should be a table"}
_Tables = TypeAdapter(dict[KeyName, KeyTable])


def new_key() -> str:
    """A fresh key of 256 random bits: 46 characters that need no quoting anywhere."""
    return f"rk-{secrets.token_urlsafe(32)}"


def digest_of(key: bytes) -> bytes:
    """What is kept of a key.

    A plain hash is right for keys of 256 random bits: there is nothing to guess that salt or a
    slow hash would protect, and every request needs it.
    """
    return hashlib.sha256(key).digest()


def table_of(name: str, key: str, role: Role) -> str:
    """The TOML table of a key. Raises SettingsError for a name that cannot be one."""
    if not re.fullmatch(_NAME, name):
        raise SettingsError(
            f"{name!r}: a key's name has up to 64 letters, digits and . _ @ -, and begins with a "
            "letter or digit"
        )
    header = name if re.fullmatch(r"[\w-]+", name, re.ASCII) else json.dumps(name)
    return f'[{header}]\nsha256 = "{digest_of(key.encode()).hex()}"\nrole = "{role}"\n'


def read_keys_file(path: Path) -> dict[bytes, Caller]:
    """Digest → owner of each key. Raises SettingsError: one line that names the file and field."""
    try:
        tables = _Tables.validate_python(_read_toml(path))
    except ValidationError as error:
        raise SettingsError(f"{path}: {_first(error)}") from None
    if len(tables) > MAX_KEYS:
        raise SettingsError(f"{path}: {len(tables)} keys, over the limit of {MAX_KEYS}")
    callers: dict[bytes, Caller] = {}
    for name, table in tables.items():
        digest = bytes.fromhex(table.sha256)
        if digest in callers:
            raise SettingsError(f"{path}: {name} has the same key as {callers[digest].name}")
        limits = KeyLimits(**table.model_dump(exclude={"sha256", "role"}))
        callers[digest] = Caller(name, table.role, limits)
    return callers


def append_key(path: Path, name: str, table: str) -> None:
    """Add a table to the file, which is made if need be, readable by its owner only.

    Raises SettingsError when the file is broken or has the name, and OSError.
    """
    exists = path.exists()
    known = read_keys_file(path) if exists else {}
    if any(caller.name == name for caller in known.values()):
        raise SettingsError(f"{path}: has a key of the name {name}; remove its table first")
    # A link to where there is nothing yet would make the file there.
    how = os.O_APPEND if exists else os.O_CREAT | os.O_EXCL
    handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK | how, 0o600)
    with open(handle, "w", encoding="utf-8") as file:  # noqa: PTH123 - of a handle
        file.write(f"\n{table}")


def _read_toml(path: Path) -> dict[str, Any]:
    content = _read_bytes(path)
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise SettingsError(f"{path}: not valid TOML: nested too deeply") from None
    except ValueError as error:  # not TOML, not UTF-8, or a number of thousands of digits
        reason = " ".join(str(error).split())
        raise SettingsError(f"{path}: not valid TOML: {reason}") from None


def _read_bytes(path: Path) -> bytes:
    try:
        content = read_regular(path, _MAX_BYTES)
        if path.stat().st_mode & 0o077:
            log.warning("%s: others may read or write it; `chmod 600` it", path)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from None
    return content


def _first(error: ValidationError) -> str:
    """The first thing wrong with the tables, without what was there: it could be a key."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = [str(part) for part in first["loc"]]
    if where[-1] == "[key]":
        return f"{where[0][:80]!r}: a key's name has up to 64 letters, digits and . _ @ -"
    what = _MESSAGES.get(first["type"], first["msg"])
    return f"{'.'.join(where)[:160]!r}: {what}"
