"""Files of API keys for tests."""

from pathlib import Path
from typing import Any

from server.access.caller import Role
from server.access.keys_file import new_key, table_of


def write_keys(path: Path, owners: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Write a file with a key for each owner, of a role and limits; gives name → key."""
    keys, text = {}, ""
    for name, fields in owners.items():
        role: Role = fields.get("role", "user")
        keys[name] = new_key()
        text += table_of(name, keys[name], role)
        text += "".join(f"{key} = {value}\n" for key, value in fields.items() if key != "role")
    path.write_text(text)
    path.chmod(0o600)
    return keys
