"""Where settings come from: defaults ← TOML file ← environment RWKV_SERVER_* ← command line."""

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pydantic_settings
from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource

from server.config import ENV_PREFIX, Settings, SettingsError
from server.regular_file import read_regular

CONFIG_VARIABLE = "RWKV_SERVER_CONFIG"

MAX_BYTES = 1 << 20
"""Of a file with settings."""

_HALF = re.compile("[\ud800-\udfff]")
_ENVIRONMENT_ONLY = ("api_key", "admin_key")  # of [http]


def load_settings(
    config: Path | None = None, overrides: dict[str, dict[str, Any]] | None = None
) -> Settings:
    """Merge defaults ← file ← environment ← overrides (section → key → value; None is unset).

    Raises SettingsError with one line that names the file or variable and the key.
    """
    if config is None and os.environ.get(CONFIG_VARIABLE):
        config = Path(os.environ[CONFIG_VARIABLE])
    layers: list[tuple[str, dict[str, Any]]] = []
    if config is not None:
        layers.append((str(config), _read_toml(config)))
    layers.append(("environment", _read_environment()))
    layers.append(("command line", overrides or {}))
    merged: dict[str, dict[str, Any]] = {}
    settings = Settings()
    for source, layer in layers:
        for section, values in layer.items():
            if not isinstance(values, dict):
                raise SettingsError(f"{source}: {section} must be a section, [{section}]")
            given = {key: value for key, value in values.items() if value is not None}
            for key, value in given.items():
                if not _is_unicode(value):
                    raise SettingsError(
                        f"{source}: {section}.{key}: must be valid UTF-8; correct the value, or "
                        "rename the file"
                    )
            merged[section] = {**merged.get(section, {}), **given}
        settings = _validate(merged, source)
    return settings


def _validate(values: dict[str, Any], source: str) -> Settings:
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise SettingsError(f"{source}: unknown setting {key}") from None
        message = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{source}: {key}: {message}") from None


def _is_unicode(value: object) -> bool:
    """Whether all text in a value can be sent to workers and shown: names of files may be bytes."""
    if isinstance(value, dict):
        return all(map(_is_unicode, (*value.keys(), *value.values())))
    if isinstance(value, list | tuple):
        return all(map(_is_unicode, value))
    return not isinstance(value, str | Path) or not _HALF.search(str(value))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(read_regular(path, MAX_BYTES).decode("utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from None
    except RecursionError:
        raise SettingsError(f"{path}: not valid TOML: nested too deeply") from None
    except ValueError as error:  # not TOML, not UTF-8, or a number of thousands of digits
        raise SettingsError(f"{path}: not valid TOML: {error}") from None
    http = values.get("http")
    for key in _ENVIRONMENT_ONLY:
        if isinstance(http, dict) and key in http:
            raise SettingsError(
                f"{path}: http.{key}: a key in plain text goes into the environment, as "
                f"{ENV_PREFIX}HTTP_{key.upper()}; http.keys_file holds hashes"
            )
    return values


def _read_environment() -> dict[str, Any]:
    for name in os.environ:
        section, _, key = name.removeprefix(ENV_PREFIX).lower().partition("_")
        known = section in Settings.model_fields and (key or section == "models")
        if name.startswith(ENV_PREFIX) and name != CONFIG_VARIABLE and not known:
            sections = ", ".join(field.upper() for field in Settings.model_fields)
            raise SettingsError(
                f"environment: unknown variable {name} (want {ENV_PREFIX}SECTION_KEY, "
                f"SECTION one of {sections})"
            )
    try:
        return EnvSettingsSource(Settings)()
    except pydantic_settings.SettingsError as error:
        raise SettingsError(f"environment: {error}; lists and tables are JSON") from None
