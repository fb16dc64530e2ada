"""Reading the small JSON and text files that come with a checkpoint."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.foreign_files import web_page_in
from server.regular_file import read_regular_text

MAX_JSON_BYTES = 16 << 20
_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # of a pair, or of none


def read_json_object(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None if there is no such file. Raises CheckpointError."""
    text = read_text(path, MAX_JSON_BYTES)
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        page = web_page_in(text)
        what = f"{page}, not JSON; download the file itself again" if page else "not valid JSON"
        raise CheckpointError(f"{path}: {what}") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: not a JSON object")
    check_unicode(path, text, found)
    return found


def check_unicode(path: Path, text: str, found: Any) -> None:
    """Refuse JSON with half a surrogate pair, by the name of its field: it could not be shown.

    `found` is what `text` says. Raises CheckpointError.
    """
    if _HALF.search(text) and (name := _broken_field(found)) is not None:
        raise CheckpointError(
            f"{path}: {name}: not valid Unicode: half a surrogate pair (\\ud800 to \\udfff by "
            "itself); write the whole character"
        )


def _broken_field(found: Any) -> str | None:
    """The path of the first key or string that is not valid Unicode; None if all are."""
    open_values: list[tuple[str, Iterator[tuple[Any, Any]]]] = [("", iter([("", found)]))]
    while open_values:
        name, items = open_values[-1]
        item = next(items, None)
        if item is None:
            open_values.pop()
            continue
        key, value = item
        place = f"{name}.{key}".strip(".")[:120]
        if _is_broken(key) or _is_broken(value):
            return place
        if isinstance(value, dict):
            open_values.append((place, iter(value.items())))
        elif isinstance(value, list):
            open_values.append((place, iter(enumerate(value))))
    return None


def _is_broken(text: object) -> bool:
    return isinstance(text, str) and any("\ud800" <= char <= "\udfff" for char in text)


def read_text(path: Path, limit: int) -> str | None:
    """A UTF-8 file of at most `limit` bytes; None if there is no such file.

    Raises CheckpointError.
    """
    try:
        return read_regular_text(path, limit)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise CheckpointError(f"{path}: not UTF-8") from None
