"""What a caller without a key may load: what the settings name, and what is in model.directories.

Without keys everybody on the machine is such a caller. The server may read more files than they.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from server.checkpoints.hub import is_on_hub
from server.config_models import NamedModelSettings
from server.home_folder import expanded
from server.model_names import split_adapter

_TOKENIZERS = ("", "world", "bytes")


class OutsideError(Exception):
    """A file that only the settings, or keys of role admin, may name: one line; `param` is it."""

    def __init__(self, param: str, file: str) -> None:
        super().__init__(
            f"{param}: must be in model.directories, or as in the settings, when there are no API "
            f"keys (got {file[:200]!r}); put it there, or use a key of role admin"
        )
        self.param = param


def check_within(
    directories: Iterable[str], known: NamedModelSettings | None, changes: Mapping[str, Any]
) -> None:
    """Raises OutsideError when a load with these changes would read another file.

    `known` is what is known of the model already, if it is.
    """
    roots = list(filter(None, map(_real, directories)))
    settled = set(_files(known.model_dump())) if known else set()
    for param, file in _files(changes):
        if (param, file) in settled or (param == "tokenizer" and file in _TOKENIZERS):
            continue
        real = _real(file) if file else None
        if real is None or not any(real.is_relative_to(root) for root in roots):
            raise OutsideError(param, file)


def _files(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every file that options name, by the option."""
    for param in ("path", "tokenizer"):
        if param in options:
            yield param, options[param]
    if options.get("reranker"):
        yield "reranker", options["reranker"]
    for file in options.get("states", {}).values():
        yield "states", file
    for text in options.get("adapters", ()):
        yield "adapters", split_adapter(text)[0]


def _real(file: str) -> Path | None:
    """Where it is behind all links; None if it cannot be the name of a file, such as hf:…."""
    try:
        return None if is_on_hub(file) else Path(os.path.realpath(expanded(file)))
    except (OSError, ValueError, RuntimeError):  # a NUL, or the home of nobody
        return None
