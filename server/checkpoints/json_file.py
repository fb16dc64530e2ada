"""Reading the small JSON and text files that come with a checkpoint."""

import json
from pathlib import Path
from typing import Any

from server.checkpoints.checkpoint import CheckpointError

MAX_JSON_BYTES = 16 << 20


def read_json_object(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None if there is no such file. Raises CheckpointError."""
    text = read_text(path, MAX_JSON_BYTES)
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise CheckpointError(f"{path}: not valid JSON") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: not a JSON object")
    return found


def read_text(path: Path, limit: int) -> str | None:
    """A UTF-8 file of at most `limit` bytes; None if there is no such file.

    Raises CheckpointError.
    """
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > limit:
            raise CheckpointError(f"{path}: larger than {limit} bytes")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise CheckpointError(f"{path}: not UTF-8") from None
